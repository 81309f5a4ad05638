import { AppError, notFound } from "./errors.ts";
import type { Action, Principal } from "./principal.ts";
import type { Session } from "./session.ts";

/** What somebody wants to touch, and whose it is. */
export type Resource = {
  /** As the error table names it: "conversation", "instance", "broadcast", ... */
  type: string;
  id: string;
  brandId: string;
  /** The person it belongs to; left out for what is the brand's alone. */
  userId?: string;
};

/** A session as what it is called outside. */
export const conversationOf = ({ id, brandId, userId }: Pick<Session, "id" | "brandId" | "userId">): Resource => ({
  type: "conversation",
  id,
  brandId,
  userId,
});

/** An instance as something to speak to. */
export const instanceOf = ({ id, brandId }: { id: string; brandId: string }): Resource => ({
  type: "instance",
  id,
  brandId,
});

/** What a person may do with what is theirs. Everything else takes a brand's key. */
const OPEN_TO_PEOPLE: readonly Action[] = [
  "messages:write",
  "conversations:read",
  "conversations:write",
  "conversations:delete",
];

/**
 * The one rule of who may do what, asked by every read, write and stream. Refuses (401) whoever sent no credential, (404)
 * what is another brand's: its existence is nobody's business; and (403) what is another person's of the same brand, what
 * people may not do at all, and what a key has no scope for.
 */
export function authorize(principal: Principal, action: Action, resource: Resource): void {
  if (principal.kind === "anonymous") throw new AppError("UNAUTHORIZED", "A credential is required");
  if (principal.brandId !== resource.brandId) throw notFound(resource.type, resource.id);
  if (principal.kind === "brand") {
    if (principal.scopes.length === 0 || principal.scopes.includes(action)) return;
    throw new AppError("FORBIDDEN", `The API key has no scope ${action}`, { details: { scope: action } });
  }
  const isTheirs = resource.userId === undefined || resource.userId === principal.userId;
  if (isTheirs && OPEN_TO_PEOPLE.includes(action)) return;
  throw new AppError("FORBIDDEN", `You do not have permission to access this ${resource.type}`);
}
