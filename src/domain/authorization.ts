import { AppError, notFound } from "./errors.ts";
import type { Action, Principal } from "./principal.ts";
import type { Session } from "./session.ts";

/** The object of an action and its owner. */
export type Resource = {
  /** Name used in errors: "conversation", "instance", "broadcast", ... */
  type: string;
  id: string;
  brandId: string;
  /** The owning user; absent for resources of the brand. */
  userId?: string;
};

/** A session as a resource, named as in the API. */
export const conversationOf = ({ id, brandId, userId }: Pick<Session, "id" | "brandId" | "userId">): Resource => ({
  type: "conversation",
  id,
  brandId,
  userId,
});

/** An instance as a resource. */
export const instanceOf = ({ id, brandId }: { id: string; brandId: string }): Resource => ({
  type: "instance",
  id,
  brandId,
});

/** Actions that users may take on their own resources. All others require a brand's key. */
const OPEN_TO_PEOPLE: readonly Action[] = [
  "messages:write",
  "conversations:read",
  "conversations:write",
  "conversations:delete",
];

/**
 * Authorises every read and write. Refuses (401) a caller without a credential, (404) resources of another brand, so
 * that their existence is not revealed, and (403) another user's resources, actions closed to users, and missing scopes.
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
