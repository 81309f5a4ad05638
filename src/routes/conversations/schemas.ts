import { z } from "@hono/zod-openapi";
import { Channel } from "../../domain/channel.ts";
import type { HistoryMessage } from "../../domain/history.ts";
import { Uuid } from "../../domain/ids.ts";
import { Pagination } from "../../domain/page.ts";
import type { Caller } from "../../domain/principal.ts";
import { ROLES } from "../../domain/role.ts";
import { formatIso } from "../../domain/time.ts";
import type { SessionInfo, SessionSummary } from "../../services/session.ts";
import type { TurnUsage, UsageStats } from "../../services/usage.ts";

const Moment = z.iso.datetime();

/** A session is called a conversation in the API; `conversation_id` is the session's id. */
export const ConversationSummary = z
  .object({
    conversation_id: Uuid,
    instance_id: Uuid,
    user_id: Uuid,
    channel: Channel,
    started_at: Moment,
    last_message_at: Moment,
    last_assistant_message_at: Moment.nullable(),
    expired_at: Moment.nullable().meta({
      description: "When it ended, by request or by timeout; null while it is open",
    }),
  })
  .meta({ id: "ConversationSummary" });

export const ConversationList = z
  .object({ conversations: z.array(ConversationSummary), pagination: Pagination })
  .meta({ id: "ConversationList" });

export const ConversationDetails = ConversationSummary.extend({
  metadata: z.record(z.string(), z.unknown()),
  age_minutes: z.number().meta({ description: "Minutes since the conversation started" }),
  inactive_minutes: z.number().meta({ description: "Minutes since the last message" }),
  message_count: z.object({ user: z.int(), assistant: z.int(), system: z.int(), total: z.int() }),
}).meta({ id: "ConversationDetails" });

export const Message = z
  .object({
    id: Uuid,
    conversation_id: Uuid,
    role: z.enum(ROLES),
    content: z.string(),
    timestamp: Moment.meta({ description: "When it was said" }),
    metadata: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "Message" });

export const MessageList = z.object({ messages: z.array(Message), pagination: Pagination }).meta({ id: "MessageList" });

const Sums = z.object({
  turns: z.int(),
  planned_tokens: z.number(),
  sent_tokens: z.number(),
  received_tokens: z.number(),
  total_tokens: z.number(),
  cost_usd: z.string().nullable().meta({ description: "Sum of priced usage; null if nothing is priced" }),
});

export const Usage = z
  .object({
    conversation_id: Uuid,
    token_plan: z
      .object({ templates: z.record(z.string(), z.unknown()), created_at: z.string() })
      .nullable()
      .meta({ description: "Token budget of each template per turn; null before the conversation is planned" }),
    totals: Sums,
    templates: z.array(
      Sums.extend({
        template_key: z.string(),
        function_name: z.string(),
        budget_tokens: z.number().nullable().meta({ description: "The template's budget in the token plan" }),
      }),
    ),
  })
  .meta({ id: "ConversationUsage" });

export const UsageRecords = z
  .object({
    records: z.array(
      Sums.omit({ turns: true }).extend({
        id: Uuid,
        timestamp: Moment,
        template_key: z.string(),
        function_name: z.string(),
        llm_model_id: Uuid.nullable(),
        input_price_per_1k: z.string().nullable(),
        output_price_per_1k: z.string().nullable(),
      }),
    ),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: "UsageRecords" });

export const recordJson = (usage: TurnUsage): z.infer<typeof UsageRecords>["records"][number] => ({
  id: usage.id,
  timestamp: formatIso(usage.createdAt),
  template_key: usage.templateKey,
  function_name: usage.functionName,
  planned_tokens: usage.plannedTokens,
  sent_tokens: usage.sentTokens,
  received_tokens: usage.receivedTokens,
  total_tokens: usage.totalTokens,
  llm_model_id: usage.llmModelId,
  input_price_per_1k: usage.inputPricePer1k,
  output_price_per_1k: usage.outputPricePer1k,
  cost_usd: usage.costUsd,
});

export const summaryJson = (session: SessionSummary): z.infer<typeof ConversationSummary> => ({
  conversation_id: session.id,
  instance_id: session.instanceId,
  user_id: session.userId,
  channel: session.channel,
  started_at: formatIso(session.startedAt),
  last_message_at: formatIso(session.lastMessageAt),
  last_assistant_message_at: formatIso(session.lastAssistantMessageAt),
  expired_at: formatIso(session.expiredAt),
});

export const detailsJson = (session: SessionInfo): z.infer<typeof ConversationDetails> => {
  const { user, assistant, system } = session.messageCount;
  return {
    ...summaryJson(session),
    metadata: session.metadata,
    age_minutes: session.ageMinutes,
    inactive_minutes: session.inactiveMinutes,
    message_count: { user, assistant, system, total: user + assistant + system },
  };
};

/** Users get the messages; the orchestrator's metadata is for the brand only. */
export function messageJson(message: HistoryMessage, conversationId: string, caller: Caller): z.infer<typeof Message> {
  const { orchestrator_response: inner, ...metadata } = message.metadata;
  return {
    id: message.id,
    conversation_id: conversationId,
    role: message.role,
    content: message.content,
    timestamp: formatIso(message.createdAt),
    metadata: caller.kind === "user" || inner === undefined ? metadata : message.metadata,
  };
}

type UsageSums = UsageStats["totals"];

const sumsJson = (sums: UsageSums): z.infer<typeof Sums> => ({
  turns: sums.turns,
  planned_tokens: sums.plannedTokens,
  sent_tokens: sums.sentTokens,
  received_tokens: sums.receivedTokens,
  total_tokens: sums.totalTokens,
  cost_usd: sums.costUsd,
});

export const usageJson = (conversationId: string, { plan, totals, templates }: UsageStats): z.infer<typeof Usage> => ({
  conversation_id: conversationId,
  token_plan: plan,
  totals: sumsJson(totals),
  templates: templates.map((usage) => ({
    template_key: usage.templateKey,
    function_name: usage.functionName,
    budget_tokens: plan?.templates[usage.templateKey]?.total_budget ?? null,
    ...sumsJson(usage),
  })),
});
