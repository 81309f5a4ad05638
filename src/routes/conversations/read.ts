import { createRoute } from "@hono/zod-openapi";
import { notFound } from "../../domain/errors.ts";
import { Uuid } from "../../domain/ids.ts";
import { MessagePageQuery, SessionPageQuery, UsagePageQuery } from "../../domain/page.ts";
import { addLogFields } from "../../http/context.ts";
import { refusals, success, WITH_CREDENTIAL } from "../../http/openapi.ts";
import { respond } from "../../http/respond.ts";
import { PathId } from "../../http/path-id.ts";
import { createRouter } from "../../http/router.ts";
import { findMessage, history } from "../../services/history.ts";
import { listSessions, sessionInfo } from "../../services/session.ts";
import { usageRecordsOf, usageStats } from "../../services/usage.ts";
import { conversationIdOf, ConversationParams, REFUSALS, requireId, withCaller } from "./params.ts";
import {
  ConversationDetails,
  ConversationList,
  detailsJson,
  Message,
  messageJson,
  MessageList,
  recordJson,
  summaryJson,
  Usage,
  usageJson,
  UsageRecords,
} from "./schemas.ts";

const ListQuery = SessionPageQuery.safeExtend({
  user_id: Uuid.optional().meta({ description: "With an API key: the conversations of one user" }),
});

const list = createRoute({
  method: "get",
  path: "/api/v1/conversations",
  operationId: "listConversations",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "List conversations, newest first",
  description:
    "A user's own; with an API key all of the brand's. A new conversation may take a few seconds to be listed; it is available by its id at once.",
  middleware: withCaller,
  request: { query: ListQuery },
  responses: {
    200: success("A page of conversations", ConversationList),
    ...refusals("VALIDATION_ERROR", ...REFUSALS),
  },
});

const show = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}",
  operationId: "getConversation",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "Get a conversation",
  middleware: withCaller,
  request: { params: ConversationParams },
  responses: { 200: success("The conversation", ConversationDetails), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const messages = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/messages",
  operationId: "listMessages",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "List messages, newest first",
  description: "A message is listed as soon as its answer was returned. With a cursor every page costs the same.",
  middleware: withCaller,
  request: { params: ConversationParams, query: MessagePageQuery },
  responses: { 200: success("A page of messages", MessageList), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const message = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/messages/{message_id}",
  operationId: "getMessage",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "Get a message",
  middleware: withCaller,
  request: { params: ConversationParams.extend({ message_id: PathId }) },
  responses: { 200: success("The message", Message), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const usage = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/usage",
  operationId: "getUsage",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "Get the token plan and the tokens used, by template, with cost",
  middleware: withCaller,
  request: { params: ConversationParams },
  responses: { 200: success("Tokens and cost", Usage), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const records = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/usage/records",
  operationId: "listUsageRecords",
  tags: ["Conversations"],
  security: WITH_CREDENTIAL,
  summary: "List token usage per turn, oldest first",
  description: "Paged by cursor (`after`). A turn answered a moment ago may take a few seconds to be listed.",
  middleware: withCaller,
  request: { params: ConversationParams, query: UsagePageQuery },
  responses: { 200: success("A page of turns", UsageRecords), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

export const conversationReadRoutes = createRouter()
  .openapi(list, async (c) => {
    const { user_id = null, ...page } = c.req.valid("query");
    const { sessions, pagination } = await listSessions(c.var.deps, c.var.caller, page, user_id);
    return respond(c, 200, { conversations: sessions.map(summaryJson), pagination }, "Conversations found");
  })
  .openapi(show, async (c) => {
    const id = conversationIdOf(c, c.req.valid("param"));
    const session = await sessionInfo(c.var.deps, c.var.caller, id);
    if (session === null) throw notFound("conversation", id);
    return respond(c, 200, detailsJson(session), "Conversation found");
  })
  .openapi(messages, async (c) => {
    const { caller, deps } = c.var;
    const id = conversationIdOf(c, c.req.valid("param"));
    const page = await history(deps, caller, id, c.req.valid("query"));
    addLogFields(c, { messages: page.messages.length });
    const found = page.messages.map((message) => messageJson(message, id, caller));
    return respond(c, 200, { messages: found, pagination: page.pagination }, "Messages found");
  })
  .openapi(message, async (c) => {
    const { caller, deps } = c.var;
    const params = c.req.valid("param");
    const id = conversationIdOf(c, params);
    const messageId = requireId("message", params.message_id);
    const found = await findMessage(deps, caller, id, messageId);
    if (found === null) throw notFound("message", messageId);
    return respond(c, 200, messageJson(found, id, caller), "Message found");
  })
  .openapi(usage, async (c) => {
    const id = conversationIdOf(c, c.req.valid("param"));
    return respond(c, 200, usageJson(id, await usageStats(c.var.deps, c.var.caller, id)), "Usage found");
  })
  .openapi(records, async (c) => {
    const id = conversationIdOf(c, c.req.valid("param"));
    const page = await usageRecordsOf(c.var.deps, c.var.caller, id, c.req.valid("query"));
    return respond(c, 200, { records: page.records.map(recordJson), next_cursor: page.nextCursor }, "Usage found");
  });
