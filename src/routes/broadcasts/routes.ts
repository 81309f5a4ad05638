import { createRoute, z } from "@hono/zod-openapi";
import { BroadcastReply } from "../../domain/broadcast.ts";
import { sendBroadcast } from "../../flows/send-broadcast.ts";
import { jsonBody } from "../../http/body.ts";
import { addLogFields } from "../../http/context.ts";
import type { AppContext } from "../../http/context.ts";
import { mismatch, replay } from "../../http/idempotency.ts";
import {
  body,
  BODY_REFUSALS,
  IdempotencyHeaders,
  refusals,
  SERVICE_REFUSALS,
  success,
  WITH_KEY,
} from "../../http/openapi.ts";
import { PathId } from "../../http/path-id.ts";
import { requireRequestId } from "../../http/request-ids.ts";
import { respond } from "../../http/respond.ts";
import { createRouter } from "../../http/router.ts";
import { withWarnings } from "../../domain/message.ts";
import { readCredential } from "../../services/authentication.ts";
import { cancel, findBroadcast, retry } from "../../services/broadcast.ts";
import {
  BROADCAST_EXAMPLE,
  BroadcastDetails,
  BroadcastProgress,
  BroadcastRequest,
  RecipientQuery,
  toDetails,
  toProgress,
} from "./schemas.ts";

const params = z.object({ id: PathId });
const REFUSALS = ["UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", ...SERVICE_REFUSALS] as const;

const send = createRoute({
  method: "post",
  path: "/api/broadcast",
  operationId: "createBroadcast",
  tags: ["Broadcasts"],
  security: WITH_KEY,
  summary: "Create a broadcast",
  description: "Answered once the broadcast is durable. Each recipient gets the message soon afterwards, exactly once.",
  middleware: jsonBody(BroadcastRequest, { status: 400 }),
  request: { headers: IdempotencyHeaders, body: body(BroadcastRequest, BROADCAST_EXAMPLE) },
  responses: {
    200: success("Accepted for the recipients with `success`, with the ids of their messages", BroadcastReply),
    ...refusals(...BODY_REFUSALS, "MISSING_REQUEST_ID", "INVALID_REQUEST_ID", "DUPLICATE_REQUEST", ...REFUSALS),
  },
});

const show = createRoute({
  method: "get",
  path: "/api/broadcasts/{id}",
  operationId: "getBroadcast",
  tags: ["Broadcasts"],
  security: WITH_KEY,
  summary: "Get a broadcast and a page of its recipients",
  request: { params, query: RecipientQuery },
  responses: { 200: success("Its progress", BroadcastDetails), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const stop = createRoute({
  method: "post",
  path: "/api/broadcasts/{id}/cancel",
  operationId: "cancelBroadcast",
  tags: ["Broadcasts"],
  security: WITH_KEY,
  summary: "Cancel a broadcast",
  description: "No recipient is claimed for sending after the answer.",
  request: { params },
  responses: { 200: success("Its progress", BroadcastProgress), ...refusals(...REFUSALS) },
});

const again = createRoute({
  method: "post",
  path: "/api/broadcasts/{id}/retry",
  operationId: "retryBroadcast",
  tags: ["Broadcasts"],
  security: WITH_KEY,
  summary: "Retry failed recipients",
  description:
    "Sends the message again to every recipient in state `failed`. A cancelled broadcast stays cancelled (400).",
  request: { params },
  responses: { 200: success("Its progress", BroadcastProgress), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const credentialOf = (c: AppContext) => readCredential(c.var.deps, c.req.header("Authorization"));

export const broadcastRoutes = createRouter()
  .openapi(send, async (c) => {
    const { deps, traceId } = c.var;
    const message = c.req.valid("json");
    const requestId = requireRequestId((name) => c.req.header(name), c.var.body);
    addLogFields(c, { channel: "broadcast", instance_id: message.instance_id });
    const { outcome, brandId } = await sendBroadcast(deps, {
      credential: await credentialOf(c),
      instanceId: message.instance_id,
      requestId,
      traceId,
      content: message.content,
      userIds: message.user_ids,
      metadata: message.metadata?.value ?? {},
    });
    addLogFields(c, { outcome: outcome.kind, brand_id: brandId });
    if (outcome.kind === "mismatch") throw mismatch(c, requestId);
    const answer = { ...outcome.answer, ...withWarnings(message.metadata?.warnings) };
    if (outcome.kind === "completed") replay(c, requestId, answer);
    addLogFields(c, { broadcast_id: answer.broadcast_id });
    return respond(c, 200, answer, "Broadcast accepted");
  })
  .openapi(show, async (c) => {
    const { limit, after = null, state = null } = c.req.valid("query");
    const page = { limit: limit + 1, after, state };
    const progress = await findBroadcast(c.var.deps, await credentialOf(c), c.req.valid("param").id, page);
    return respond(c, 200, toDetails(progress, limit), "Broadcast found");
  })
  .openapi(stop, async (c) => {
    const progress = await cancel(c.var.deps, await credentialOf(c), c.req.valid("param").id);
    return respond(c, 200, toProgress(progress), "Broadcast cancelled");
  })
  .openapi(again, async (c) => {
    const progress = await retry(c.var.deps, await credentialOf(c), c.req.valid("param").id);
    return respond(c, 200, toProgress(progress), "Broadcast retried");
  });
