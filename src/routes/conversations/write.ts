import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { Uuid } from "../../domain/ids.ts";
import { Identifiers } from "../../domain/identity.ts";
import { MessageMetadata } from "../../domain/message.ts";
import { formatIso } from "../../domain/time.ts";
import { Transcript, TranscriptShape } from "../../domain/transcript.ts";
import { startConversation } from "../../flows/start-conversation.ts";
import { jsonBody } from "../../http/body.ts";
import type { AppEnv } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { BODY_REFUSALS, json, refusals, success, WITH_CREDENTIAL } from "../../http/openapi.ts";
import { eraseConversation, expireSession } from "../../services/session-end.ts";
import { saveTranscript } from "../../services/transcript.ts";
import { callerOf, conversationIdOf, ConversationParams, REFUSALS } from "./params.ts";
import { ConversationSummary, summaryJson } from "./schemas.ts";
import { toServiceUnavailable } from "../../domain/errors.ts";

const StartRequest = z
  .object({
    instance_id: Uuid,
    user: Identifiers.nullish().meta({ description: "How a brand's server names the person; somebody new is made" }),
    user_id: Uuid.nullish().meta({ description: "The person's id; a token names its own" }),
    metadata: MessageMetadata.nullish(),
  })
  .meta({ id: "StartRequest" });

const Saved = z
  .object({ conversation_id: Uuid, ids: z.array(Uuid).meta({ description: "The messages' ids, in order" }) })
  .meta({ id: "TranscriptAccepted" });

const start = createRoute({
  method: "post",
  path: "/api/v1/conversations/start",
  security: WITH_CREDENTIAL,
  summary: "Begin a conversation before anything is said in it",
  description: "With a request id in X-Request-ID or Idempotency-Key, a repeat gives the same conversation.",
  request: { body: { ...json(StartRequest), required: true } },
  responses: {
    201: success("The conversation", ConversationSummary),
    ...refusals(...BODY_REFUSALS, ...REFUSALS),
  },
});

const transcript = createRoute({
  method: "post",
  path: "/api/v1/conversations/{id}/messages",
  security: WITH_CREDENTIAL,
  summary: "Keep what was said in a voice call",
  description:
    "One message or up to 100. Answered before anything reaches the database, so that no call waits; the messages are in the history at once.",
  request: { params: ConversationParams, body: { ...json(TranscriptShape), required: true } },
  responses: { 202: success("Kept", Saved), ...refusals(...BODY_REFUSALS, ...REFUSALS) },
});

const expire = createRoute({
  method: "post",
  path: "/api/v1/conversations/{id}/expire",
  security: WITH_CREDENTIAL,
  summary: "End a conversation: what is said next begins another",
  request: { params: ConversationParams },
  responses: {
    200: success("Ended", z.object({ conversation_id: Uuid, expired_at: z.iso.datetime() }).meta({ id: "Expired" })),
    ...refusals("VALIDATION_ERROR", ...REFUSALS),
  },
});

const erase = createRoute({
  method: "delete",
  path: "/api/v1/conversations/{id}",
  security: WITH_CREDENTIAL,
  summary: "Erase a conversation with everything said in it",
  description: "What is in flight in it is dropped. Doing it again finds nothing (404).",
  request: { params: ConversationParams },
  responses: {
    200: success("Erased", z.object({ conversation_id: Uuid }).meta({ id: "Erased" })),
    ...refusals("VALIDATION_ERROR", ...REFUSALS),
  },
});

export const conversationWriteRoutes = new OpenAPIHono<AppEnv>();
const routes = conversationWriteRoutes;
for (const route of [start, transcript, expire, erase]) routes.openAPIRegistry.registerPath(route);

routes.post(start.getRoutingPath(), jsonBody(StartRequest), async (c) => {
  const caller = await callerOf(c);
  const { instance_id, user, user_id, metadata } = c.req.valid("json");
  const session = await startConversation(c.var.deps, caller, {
    instanceId: instance_id.toLowerCase(),
    userId: user_id?.toLowerCase() ?? null,
    identifiers: user ?? {},
    metadata: metadata ?? {},
    requestId: c.var.requestId ?? null,
  }).catch(toServiceUnavailable);
  addLogFields(c, { session_id: session.id });
  return c.json({ success: true, data: summaryJson(session), message: "Conversation started" }, 201);
});

routes.post(transcript.getRoutingPath(), jsonBody(Transcript), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const messages = c.req.valid("json");
  const ids = await saveTranscript(c.var.deps, caller, id, {
    messages,
    requestId: c.var.requestId ?? null,
    traceId: c.var.traceId,
  }).catch(toServiceUnavailable);
  addLogFields(c, { messages: ids.length });
  return c.json({ success: true, data: { conversation_id: id, ids }, message: "Messages accepted" }, 202);
});

routes.post(expire.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const expiredAt = await expireSession(c.var.deps, caller, id).catch(toServiceUnavailable);
  const data = { conversation_id: id, expired_at: formatIso(expiredAt) };
  return c.json({ success: true, data, message: "Conversation ended" });
});

routes.delete(erase.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  await eraseConversation(c.var.deps, caller, id).catch(toServiceUnavailable);
  return c.json({ success: true, data: { conversation_id: id }, message: "Conversation erased" });
});
