import { createRoute, z } from "@hono/zod-openapi";
import { Uuid } from "../../domain/ids.ts";
import { Identifiers } from "../../domain/identity.ts";
import { MessageMetadata, Warnings, withWarnings } from "../../domain/message.ts";
import { formatIso } from "../../domain/time.ts";
import { Transcript, TranscriptShape } from "../../domain/transcript.ts";
import { startConversation } from "../../flows/start-conversation.ts";
import { jsonBody } from "../../http/body.ts";
import { addLogFields } from "../../http/context.ts";
import { body, BODY_REFUSALS, IdempotencyHeaders, refusals, success, WITH_CREDENTIAL } from "../../http/openapi.ts";
import { respond } from "../../http/respond.ts";
import { createRouter } from "../../http/router.ts";
import { eraseConversation, expireSession } from "../../services/session-end.ts";
import { limitCaller } from "../../services/rate-limit.ts";
import { saveTranscript } from "../../services/transcript.ts";
import { conversationIdOf, ConversationParams, REFUSALS, withCaller } from "./params.ts";
import { ConversationSummary, summaryJson } from "./schemas.ts";

const StartRequest = z
  .object({
    instance_id: Uuid,
    user: Identifiers.nullish().meta({
      description: "With an API key: the user's identifiers. A new user is created if none matches.",
    }),
    user_id: Uuid.nullish().meta({ description: "With an API key: the user's id. A token names its own user." }),
    metadata: MessageMetadata.nullish(),
  })
  .meta({ id: "StartRequest" });

const Saved = z
  .object({
    conversation_id: Uuid,
    ids: z.array(Uuid).meta({ description: "The messages' ids, in order" }),
    warnings: Warnings,
  })
  .meta({ id: "TranscriptAccepted" });

const Started = ConversationSummary.extend({ warnings: Warnings }).meta({ id: "StartedConversation" });

const start = createRoute({
  method: "post",
  path: "/api/v1/conversations/start",
  operationId: "startConversation",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "Start a conversation",
  description: "For calls with transcripts. The same request id returns the same conversation.",
  middleware: [jsonBody(StartRequest), withCaller] as const,
  request: {
    headers: IdempotencyHeaders,
    body: body(StartRequest, {
      instance_id: "7f1d0a52-3c5e-4f0e-9a5e-0d6c1c1b2a10",
      user: { phone_e164: "+14155550123" },
    }),
  },
  responses: { 201: success("The conversation", Started), ...refusals(...BODY_REFUSALS, ...REFUSALS) },
});

const transcript = createRoute({
  method: "post",
  path: "/api/v1/conversations/{id}/messages",
  operationId: "saveTranscript",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "Save transcript messages",
  description: "One message or up to 100. Answered before Postgres is written; the messages are listed at once.",
  middleware: [jsonBody(Transcript), withCaller] as const,
  request: {
    params: ConversationParams,
    headers: IdempotencyHeaders,
    // `Transcript` reads all documented shapes into one list.
    body: body(TranscriptShape as unknown as typeof Transcript, {
      role: "user",
      content: "Where is my order?",
      timestamp: "2026-11-22T10:00:00.250Z",
    }),
  },
  responses: {
    202: success("The messages are saved", Saved),
    ...refusals(...BODY_REFUSALS, ...REFUSALS, "CONFLICT"),
  },
});

const expire = createRoute({
  method: "post",
  path: "/api/v1/conversations/{id}/expire",
  operationId: "endConversation",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "End a conversation; the next message starts a new one",
  middleware: withCaller,
  request: { params: ConversationParams },
  responses: {
    200: success(
      "The conversation is ended",
      z.object({ conversation_id: Uuid, expired_at: z.iso.datetime() }).meta({ id: "Expired" }),
    ),
    ...refusals("VALIDATION_ERROR", ...REFUSALS),
  },
});

const erase = createRoute({
  method: "delete",
  path: "/api/v1/conversations/{id}",
  operationId: "eraseConversation",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "Erase a conversation and its messages",
  description: "Pending turns are dropped. Repeating the call returns 404.",
  middleware: withCaller,
  request: { params: ConversationParams },
  responses: {
    200: success("The conversation is erased", z.object({ conversation_id: Uuid }).meta({ id: "Erased" })),
    ...refusals("VALIDATION_ERROR", ...REFUSALS),
  },
});

export const conversationWriteRoutes = createRouter()
  .openapi(start, async (c) => {
    const { instance_id, user, user_id, metadata } = c.req.valid("json");
    const session = await startConversation(c.var.deps, c.var.caller, {
      instanceId: instance_id.toLowerCase(),
      userId: user_id?.toLowerCase() ?? null,
      identifiers: user ?? {},
      metadata: metadata?.value ?? {},
      requestId: c.var.requestId ?? null,
    });
    addLogFields(c, { session_id: session.id });
    const data = { ...summaryJson(session), ...withWarnings(metadata?.warnings) };
    return respond(c, 201, data, "Conversation started");
  })
  .openapi(transcript, async (c) => {
    const id = conversationIdOf(c, c.req.valid("param"));
    const messages = c.req.valid("json");
    // `withCaller` has counted the first.
    if (messages.length > 1) await limitCaller(c.var.deps, c.var.caller, "write", messages.length - 1);
    const ids = await saveTranscript(c.var.deps, c.var.caller, id, {
      messages,
      requestId: c.var.requestId ?? null,
      traceId: c.var.traceId,
    });
    addLogFields(c, { messages: ids.length });
    const warnings = messages.flatMap((message, index) => message.warnings.map((warning) => `${index}.${warning}`));
    return respond(c, 202, { conversation_id: id, ids, ...withWarnings(warnings) }, "Messages accepted");
  })
  .openapi(expire, async (c) => {
    const id = conversationIdOf(c, c.req.valid("param"));
    const expiredAt = await expireSession(c.var.deps, c.var.caller, id);
    return respond(c, 200, { conversation_id: id, expired_at: formatIso(expiredAt) }, "Conversation ended");
  })
  .openapi(erase, async (c) => {
    const id = conversationIdOf(c, c.req.valid("param"));
    await eraseConversation(c.var.deps, c.var.caller, id);
    return respond(c, 200, { conversation_id: id }, "Conversation erased");
  });
