import { z } from "@hono/zod-openapi";
import { invalid, notFound, toServiceUnavailable } from "../../domain/errors.ts";
import { Uuid } from "../../domain/ids.ts";
import type { Caller } from "../../domain/principal.ts";
import type { AppContext } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { requireCaller } from "../../services/authentication.ts";

export const ConversationParams = z.object({ id: Uuid });

/** What any of these routes can refuse. */
export const REFUSALS = [
  "UNAUTHORIZED",
  "FORBIDDEN",
  "RESOURCE_NOT_FOUND",
  "SERVICE_UNAVAILABLE",
  "INTERNAL_ERROR",
] as const;

/** Who is calling; nobody is let in without a credential, whatever AUTH_MODE says. */
export async function callerOf(c: AppContext): Promise<Caller> {
  const caller = await requireCaller(c.var.deps, c.req.header("Authorization")).catch(toServiceUnavailable);
  addLogFields(c, {
    brand_id: caller.brandId,
    ...(caller.kind === "user" ? { user_id: caller.userId } : { key_id: caller.keyId }),
  });
  return caller;
}

/** The conversation the path names. Refuses (400) none, and (404) what is no id: nothing goes by that. */
export function conversationIdOf(c: AppContext): string {
  const id = (c.req.param("id") ?? "").trim().toLowerCase();
  if (id === "") throw invalid("conversation_id", "conversation_id is required");
  if (!Uuid.safeParse(id).success) throw notFound("conversation", id);
  addLogFields(c, { session_id: id });
  return id;
}
