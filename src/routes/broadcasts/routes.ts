import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { BROADCAST_STATES, MAX_RECIPIENTS, RECIPIENT_STATES, stateOf } from "../../domain/broadcast.ts";
import type { Progress } from "../../domain/broadcast.ts";
import { DELIVERY_STATES } from "../../domain/delivery.ts";
import { ERROR_CODES, toServiceUnavailable } from "../../domain/errors.ts";
import type { ErrorCode } from "../../domain/errors.ts";
import { Uuid } from "../../domain/ids.ts";
import { MessageContent, MessageMetadata } from "../../domain/message.ts";
import { limit } from "../../domain/page.ts";
import { formatIso } from "../../domain/time.ts";
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

const BroadcastRequest = z
  .object({
    instance_id: Uuid,
    // Checked by `requireRequestId`, which also knows the headers.
    request_id: z.unknown().optional().meta({
      type: "string",
      description:
        "1 to 128 of A-Z a-z 0-9 . _ : -; or the header X-Request-ID or Idempotency-Key. It names this broadcast of the instance for ever",
    }),
    content: MessageContent,
    user_ids: z.array(Uuid).min(1).max(MAX_RECIPIENTS).meta({ description: "One that stands there twice counts once" }),
    trace_id: z.string().nullish(),
    metadata: MessageMetadata.nullish(),
  })
  .meta({ id: "BroadcastRequest" });

const RecipientError = z
  .object({ code: z.enum(ERROR_CODES as [ErrorCode, ...ErrorCode[]]), message: z.string() })
  .meta({ id: "RecipientError" });

const BroadcastReply = z
  .object({
    broadcast_id: Uuid,
    summary: z.object({ total: z.int(), successful: z.int(), failed: z.int() }),
    results: z.array(
      z.union([
        z.object({ user_id: Uuid, success: z.literal(true), message_id: Uuid }),
        z.object({ user_id: Uuid, success: z.literal(false), error: RecipientError }),
      ]),
    ),
  })
  .meta({ id: "BroadcastReply" });

const BroadcastProgress = z
  .object({
    broadcast_id: Uuid,
    instance_id: Uuid,
    request_id: z.string(),
    state: z.enum(BROADCAST_STATES),
    content: z.string(),
    created_at: z.iso.datetime(),
    cancelled_at: z.iso.datetime().nullable(),
    total: z.int(),
    counts: z.record(z.enum(RECIPIENT_STATES), z.int()),
    deliveries: z
      .partialRecord(z.enum(DELIVERY_STATES), z.int())
      .meta({ description: "What the channel says of those that were sent, where the instance goes through one" }),
  })
  .meta({ id: "BroadcastProgress" });

const BroadcastDetails = BroadcastProgress.extend({
  recipients: z.array(
    z.object({
      user_id: Uuid,
      message_id: Uuid,
      state: z.enum(RECIPIENT_STATES),
      attempts: z.int(),
      error: RecipientError.nullable(),
      delivery: z
        .object({
          state: z.enum(DELIVERY_STATES),
          ids: z.array(z.string()),
          error: z.object({ code: z.union([z.int(), z.string()]), reason: z.string() }).optional(),
        })
        .nullable(),
    }),
  ),
  pagination: z.object({ limit: z.int(), has_more: z.boolean(), next_cursor: z.string().nullable() }),
}).meta({ id: "BroadcastDetails" });

const RecipientQuery = z.object({
  limit,
  after: Uuid.optional().meta({ description: "`next_cursor` of the page before" }),
  state: z.enum(RECIPIENT_STATES).optional(),
});

const params = z.object({ id: z.string() });
const REFUSALS = ["UNAUTHORIZED", "FORBIDDEN", "RESOURCE_NOT_FOUND", "SERVICE_UNAVAILABLE", "INTERNAL_ERROR"] as const;

const send = createRoute({
  method: "post",
  path: "/api/broadcast",
  security: WITH_KEY,
  summary: "Say one thing to many",
  description: "Answered once it is durable; each person has it soon after, exactly once.",
  request: { body: { ...json(BroadcastRequest), required: true } },
  responses: {
    200: success("Accepted for those with `success`, with the ids their messages have", BroadcastReply),
    ...refusals(...BODY_REFUSALS, "MISSING_REQUEST_ID", "INVALID_REQUEST_ID", "DUPLICATE_REQUEST", ...REFUSALS),
  },
});

const show = createRoute({
  method: "get",
  path: "/api/broadcasts/{id}",
  security: WITH_KEY,
  summary: "Where a broadcast stands, and a page of its recipients",
  request: { params, query: RecipientQuery },
  responses: { 200: success("Its progress", BroadcastDetails), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const stop = createRoute({
  method: "post",
  path: "/api/broadcasts/{id}/cancel",
  security: WITH_KEY,
  summary: "Cancel a broadcast: nobody is claimed for sending after the answer",
  request: { params },
  responses: { 200: success("Its progress", BroadcastProgress), ...refusals(...REFUSALS) },
});

const again = createRoute({
  method: "post",
  path: "/api/broadcasts/{id}/retry",
  security: WITH_KEY,
  summary: "Send once more to those who failed",
  description:
    "A cancelled broadcast stays cancelled (400). What a channel has refused is not sent again: see each `delivery`.",
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
  const recipients = progress.recipients.slice(0, limit);
  const hasMore = progress.recipients.length > limit;
  const data = {
    ...toJson(progress),
    recipients: recipients.map(({ userId, messageId, state, attempts, error, delivery }) => ({
      user_id: userId,
      message_id: messageId,
      state,
      attempts,
      error,
      delivery,
    })),
    pagination: { limit, has_more: hasMore, next_cursor: hasMore ? (recipients.at(-1)?.userId ?? null) : null },
  };
  return c.json({ success: true, data, message: "Broadcast found" });
});

broadcastRoutes.post("/api/broadcasts/:id/cancel", async (c) => {
  const progress = await cancel(c.var.deps, await credentialOf(c), c.req.param("id")).catch(toServiceUnavailable);
  return c.json({ success: true, data: toJson(progress), message: "Broadcast cancelled" });
});

broadcastRoutes.post("/api/broadcasts/:id/retry", async (c) => {
  const progress = await retry(c.var.deps, await credentialOf(c), c.req.param("id")).catch(toServiceUnavailable);
  return c.json({ success: true, data: toJson(progress), message: "Broadcast retried" });
});

const credentialOf = (c: AppContext) => readCredential(c.var.deps, c.req.header("Authorization"));

const toJson = (progress: Progress): z.infer<typeof BroadcastProgress> => ({
  broadcast_id: progress.id,
  instance_id: progress.instanceId,
  request_id: progress.requestId,
  state: stateOf(progress),
  content: progress.content,
  created_at: formatIso(progress.createdAt),
  cancelled_at: formatIso(progress.cancelledAt),
  total: Object.values(progress.counts).reduce((sum, count) => sum + count, 0),
  counts: progress.counts,
  deliveries: progress.deliveries,
});
