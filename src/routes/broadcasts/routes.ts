import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { BroadcastReply } from "../../domain/broadcast.ts";
import { toServiceUnavailable } from "../../domain/errors.ts";
import { sendBroadcast } from "../../flows/send-broadcast.ts";
import { jsonBody } from "../../http/body.ts";
import { addLogFields } from "../../http/context.ts";
import type { AppContext, AppEnv } from "../../http/context.ts";
import { mismatch, replay } from "../../http/idempotency.ts";
import { requireRequestId } from "../../http/request-ids.ts";
import { BODY_REFUSALS, json, refusals, success, WITH_KEY } from "../../http/openapi.ts";
import { parseQuery } from "../../http/query.ts";
import { cancel, findBroadcast, retry } from "../../services/broadcast.ts";
import { readCredential } from "../../services/authentication.ts";
import {
  BroadcastDetails,
  BroadcastProgress,
  BroadcastRequest,
  RecipientQuery,
  toDetails,
  toProgress,
} from "./schemas.ts";

const params = z.object({ id: z.string() });
const REFUSALS = ["UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", "SERVICE_UNAVAILABLE", "INTERNAL_ERROR"] as const;

const send = createRoute({
  method: "post",
  path: "/api/broadcast",
  security: WITH_KEY,
  summary: "Create a broadcast",
  description: "Answered once the broadcast is durable. Each recipient gets the message soon afterwards, exactly once.",
  request: { body: { ...json(BroadcastRequest), required: true } },
  responses: {
    200: success("Accepted for the recipients with `success`, with the ids of their messages", BroadcastReply),
    ...refusals(...BODY_REFUSALS, "MISSING_REQUEST_ID", "INVALID_REQUEST_ID", "DUPLICATE_REQUEST", ...REFUSALS),
  },
});

const show = createRoute({
  method: "get",
  path: "/api/broadcasts/{id}",
  security: WITH_KEY,
  summary: "Get a broadcast and a page of its recipients",
  request: { params, query: RecipientQuery },
  responses: { 200: success("Its progress", BroadcastDetails), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const stop = createRoute({
  method: "post",
  path: "/api/broadcasts/{id}/cancel",
  security: WITH_KEY,
  summary: "Cancel a broadcast: no recipient is claimed for sending after the answer",
  request: { params },
  responses: { 200: success("Its progress", BroadcastProgress), ...refusals(...REFUSALS) },
});

const again = createRoute({
  method: "post",
  path: "/api/broadcasts/{id}/retry",
  security: WITH_KEY,
  summary: "Retry failed recipients",
  description:
    "Sends the message again to every recipient in state `failed`. A cancelled broadcast stays cancelled (400).",
  request: { params },
  responses: { 200: success("Its progress", BroadcastProgress), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

export const broadcastRoutes = new OpenAPIHono<AppEnv>();
for (const route of [send, show, stop, again]) broadcastRoutes.openAPIRegistry.registerPath(route);

broadcastRoutes.post("/api/broadcast", jsonBody(BroadcastRequest, { status: 400 }), async (c) => {
  const { deps, traceId } = c.var;
  const body = c.req.valid("json");
  const requestId = requireRequestId((name) => c.req.header(name), c.var.body);
  addLogFields(c, { channel: "broadcast", instance_id: body.instance_id });
  const { outcome, brandId } = await sendBroadcast(deps, {
    credential: await credentialOf(c),
    instanceId: body.instance_id,
    requestId,
    traceId,
    content: body.content,
    userIds: body.user_ids,
    metadata: body.metadata ?? {},
  }).catch(toServiceUnavailable);
  addLogFields(c, { outcome: outcome.kind, brand_id: brandId });
  if (outcome.kind === "mismatch") throw mismatch(c, requestId);
  if (outcome.kind === "completed") replay(c, requestId, outcome.answer);
  addLogFields(c, { broadcast_id: outcome.answer.broadcast_id });
  return c.json({ success: true, data: outcome.answer, message: "Broadcast accepted" });
});

broadcastRoutes.get("/api/broadcasts/:id", async (c) => {
  const { limit, after = null, state = null } = parseQuery(c, RecipientQuery);
  const page = { limit: limit + 1, after, state };
  const progress = await findBroadcast(c.var.deps, await credentialOf(c), c.req.param("id"), page).catch(
    toServiceUnavailable,
  );
  return c.json({ success: true, data: toDetails(progress, limit), message: "Broadcast found" });
});

broadcastRoutes.post("/api/broadcasts/:id/cancel", async (c) => {
  const progress = await cancel(c.var.deps, await credentialOf(c), c.req.param("id")).catch(toServiceUnavailable);
  return c.json({ success: true, data: toProgress(progress), message: "Broadcast cancelled" });
});

broadcastRoutes.post("/api/broadcasts/:id/retry", async (c) => {
  const progress = await retry(c.var.deps, await credentialOf(c), c.req.param("id")).catch(toServiceUnavailable);
  return c.json({ success: true, data: toProgress(progress), message: "Broadcast retried" });
});

const credentialOf = (c: AppContext) => readCredential(c.var.deps, c.req.header("Authorization"));
