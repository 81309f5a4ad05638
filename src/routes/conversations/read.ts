import { createRoute, OpenAPIHono } from "@hono/zod-openapi";
import { invalid, notFound, toServiceUnavailable } from "../../domain/errors.ts";
import { Uuid } from "../../domain/ids.ts";
import { MessagePageQuery, SessionPageQuery, UsagePageQuery } from "../../domain/page.ts";
import type { AppEnv } from "../../http/context.ts";
import { addLogFields } from "../../http/context.ts";
import { refusals, success, WITH_CREDENTIAL } from "../../http/openapi.ts";
import { parseQuery } from "../../http/query.ts";
import { findMessage, history } from "../../services/history.ts";
import { listSessions, sessionInfo } from "../../services/session.ts";
import { usageRecordsOf, usageStats } from "../../services/usage.ts";
import { callerOf, conversationIdOf, ConversationParams, REFUSALS } from "./params.ts";
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
  user_id: Uuid.optional().meta({ description: "For a brand's key: the conversations of one person" }),
});

const list = createRoute({
  method: "get",
  path: "/api/v1/conversations",
  security: WITH_CREDENTIAL,
  summary: "The caller's own conversations, the newest first",
  description:
    "A person's, or with a key all of the brand's. One that began a moment ago may take some seconds to be listed; by its id it is there at once.",
  request: { query: ListQuery },
  responses: { 200: success("Conversations", ConversationList), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const show = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}",
  security: WITH_CREDENTIAL,
  summary: "A conversation in detail",
  request: { params: ConversationParams },
  responses: { 200: success("The conversation", ConversationDetails), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const messages = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/messages",
  security: WITH_CREDENTIAL,
  summary: "What was said, the newest first",
  description: "A message is there as soon as its answer was returned. By cursor every page costs the same.",
  request: { params: ConversationParams, query: MessagePageQuery },
  responses: { 200: success("Messages", MessageList), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const message = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/messages/{message_id}",
  security: WITH_CREDENTIAL,
  summary: "One message",
  request: { params: ConversationParams.extend({ message_id: Uuid }) },
  responses: { 200: success("The message", Message), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const usage = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/usage",
  security: WITH_CREDENTIAL,
  summary: "The token plan against what was used, by template, with cost",
  request: { params: ConversationParams },
  responses: { 200: success("Tokens and cost", Usage), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

const records = createRoute({
  method: "get",
  path: "/api/v1/conversations/{id}/usage/records",
  security: WITH_CREDENTIAL,
  summary: "What each turn took, in order",
  description: "By cursor (`after`). A turn that was answered a moment ago may take some seconds to be listed.",
  request: { params: ConversationParams, query: UsagePageQuery },
  responses: { 200: success("Turns", UsageRecords), ...refusals("VALIDATION_ERROR", ...REFUSALS) },
});

export const conversationReadRoutes = new OpenAPIHono<AppEnv>();
const routes = conversationReadRoutes;
for (const route of [list, show, messages, message, usage, records]) routes.openAPIRegistry.registerPath(route);

routes.get(list.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const { user_id = null, ...page } = parseQuery(c, ListQuery);
  const { sessions, pagination } = await listSessions(c.var.deps, caller, page, user_id).catch(toServiceUnavailable);
  const data = { conversations: sessions.map(summaryJson), pagination };
  return c.json({ success: true, data, message: "Conversations found" });
});

routes.get(show.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const session = await sessionInfo(c.var.deps, caller, id).catch(toServiceUnavailable);
  if (session === null) throw notFound("conversation", id);
  return c.json({ success: true, data: detailsJson(session), message: "Conversation found" });
});

routes.get(messages.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const page = await history(c.var.deps, caller, id, parseQuery(c, MessagePageQuery)).catch(toServiceUnavailable);
  addLogFields(c, { messages: page.messages.length });
  const data = {
    messages: page.messages.map((message) => messageJson(message, id, caller)),
    pagination: page.pagination,
  };
  return c.json({ success: true, data, message: "Messages found" });
});

routes.get(message.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const messageId = (c.req.param("message_id") ?? "").trim();
  if (messageId === "") throw invalid("message_id", "message_id is required");
  if (!Uuid.safeParse(messageId).success) throw notFound("message", messageId);
  const found = await findMessage(c.var.deps, caller, id, messageId.toLowerCase()).catch(toServiceUnavailable);
  if (found === null) throw notFound("message", messageId);
  return c.json({ success: true, data: messageJson(found, id, caller), message: "Message found" });
});

routes.get(usage.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const stats = await usageStats(c.var.deps, caller, id).catch(toServiceUnavailable);
  return c.json({ success: true, data: usageJson(id, stats), message: "Usage found" });
});

routes.get(records.getRoutingPath(), async (c) => {
  const caller = await callerOf(c);
  const id = conversationIdOf(c);
  const page = await usageRecordsOf(c.var.deps, caller, id, parseQuery(c, UsagePageQuery)).catch(toServiceUnavailable);
  const data = { records: page.records.map(recordJson), next_cursor: page.nextCursor };
  return c.json({ success: true, data, message: "Usage found" });
});
