import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import { Uuid } from "../../domain/ids.ts";
import { Identifiers } from "../../domain/identity.ts";
import { Transcript, TranscriptShape } from "../../domain/transcript.ts";
import { startConversation } from "../../flows/start-conversation.ts";
import { jsonBody } from "../../http/body.ts";
import type { AppEnv } from "../../http/context.ts";
import { note } from "../../http/context.ts";
import { BODY_REFUSALS, json, refusals, success } from "../../http/openapi.ts";
import { explainAbsence } from "../../services/absence.ts";
import { saveTranscript } from "../../services/transcript.ts";
import { callerOf, conversationIdOf, ConversationParams, REFUSALS } from "./request.ts";
import { ConversationSummary, summaryJson } from "./shapes.ts";

const StartRequest = z
  .object({
    instance_id: Uuid,
    user: Identifiers.nullish().meta({ description: "How a brand's server names the person; somebody new is made" }),
    user_id: Uuid.nullish().meta({ description: "The person's id; a token names its own" }),
  })
  .meta({ id: "StartRequest" });

const Saved = z
  .object({ conversation_id: Uuid, ids: z.array(Uuid).meta({ description: "The messages' ids, in order" }) })
  .meta({ id: "TranscriptAccepted" });

const start = createRoute({
  method: "post",
  path: "/api/v1/conversations/start",
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
  summary: "Keep what was said in a voice call",
  description:
    "One message or up to 100. Answered before anything reaches the database, so that no call waits; the messages are in the history at once.",
  request: { params: ConversationParams, body: { ...json(TranscriptShape), required: true } },
  responses: { 202: success("Kept", Saved), ...refusals(...BODY_REFUSALS, ...REFUSALS) },
});

export const conversationWriteRoutes = new OpenAPIHono<AppEnv>();
const routes = conversationWriteRoutes;
for (const route of [start, transcript]) routes.openAPIRegistry.registerPath(route);

routes.post(start.getRoutingPath(), jsonBody(StartRequest), async (c) => {
  const caller = await callerOf(c);
  const { instance_id, user, user_id } = c.req.valid("json");
  const session = await startConversation(c.var.deps, caller, {
    instanceId: instance_id.toLowerCase(),
    userId: user_id?.toLowerCase() ?? null,
    identifiers: user ?? {},
    requestId: c.var.requestId ?? null,
  }).catch(explainAbsence);
  note(c, { session_id: session.id });
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
  }).catch(explainAbsence);
  note(c, { messages: ids.length });
  return c.json({ success: true, data: { conversation_id: id, ids }, message: "Messages accepted" }, 202);
});
