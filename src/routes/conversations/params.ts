import { z } from "@hono/zod-openapi";
import { createMiddleware } from "hono/factory";
import { invalid, notFound } from "../../domain/errors.ts";
import { Uuid } from "../../domain/ids.ts";
import { PathId } from "../../http/path-id.ts";
import type { Caller } from "../../domain/principal.ts";
import type { AppContext, AppEnv } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { SERVICE_REFUSALS } from "../../http/openapi.ts";
import { requireCaller } from "../../services/authentication.ts";
import { limitCaller } from "../../services/rate-limit.ts";

export const ConversationParams = z.object({ id: PathId });

/** Errors of every conversation route. */
export const REFUSALS = ["UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", ...SERVICE_REFUSALS] as const;

/** Requires a credential, whatever `AUTH_MODE` says, and counts the request against the caller's rate; the handler finds its principal as `c.var.caller`. */
export const withCaller = createMiddleware<AppEnv & { Variables: { caller: Caller } }>(async (c, next) => {
  const caller = await requireCaller(c.var.deps, c.req.header("Authorization"));
  addLogFields(c, {
    brand_id: caller.brandId,
    ...(caller.kind === "user" ? { user_id: caller.userId } : { key_id: caller.keyId }),
  });
  await limitCaller(c.var.deps, caller, c.req.method === "GET" ? "read" : "write");
  c.set("caller", caller);
  await next();
});

/** The conversation id of the path. Refuses (400) a blank one and (404) one that is no UUID. */
export function conversationIdOf(c: AppContext, { id: sent }: z.output<typeof ConversationParams>): string {
  const id = requireId("conversation", sent);
  addLogFields(c, { session_id: id });
  return id;
}

/** An id of the path. Refuses (400) a blank one and (404) one that is no UUID. */
export function requireId(resourceType: string, sent: string): string {
  if (sent === "") throw invalid(`${resourceType}_id`, `${resourceType}_id is required`);
  if (!Uuid.safeParse(sent).success) throw notFound(resourceType, sent);
  return sent;
}
