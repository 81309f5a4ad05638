import { sql } from "drizzle-orm";
import { bigint, boolean, index, integer, jsonb, numeric, pgTable, text, uniqueIndex, uuid } from "drizzle-orm/pg-core";
import { CHANNELS } from "../../domain/channel.ts";
import { ROLES } from "../../domain/role.ts";
import type { TokenPlan } from "../../domain/token-plan.ts";
import { brands, instances, llmModels } from "./brands.ts";
import { createdAt, id, isObject, isOneOf, jsonObject, moment, updatedAt } from "./columns.ts";
import { users } from "./people.ts";

const brandId = () =>
  uuid("brand_id")
    .notNull()
    .references(() => brands.id, { onDelete: "cascade" });
const instanceId = () =>
  uuid("instance_id")
    .notNull()
    .references(() => instances.id, { onDelete: "cascade" });

export const sessions = pgTable(
  "sessions",
  {
    id: id(),
    brandId: brandId(),
    instanceId: instanceId(),
    userId: uuid("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    channel: text("channel", { enum: CHANNELS }).notNull(),
    /** Name of the Conversation object that decides for this session. */
    address: text("address").notNull(),
    startedAt: moment("started_at")
      .notNull()
      .default(sql`now()`),
    lastMessageAt: moment("last_message_at")
      .notNull()
      .default(sql`now()`),
    lastAssistantMessageAt: moment("last_assistant_message_at"),
    /** null while the session is open, or ended by timeout (see `last_message_at`). */
    expiredAt: moment("expired_at"),
    /** null until the first message, which plans it. */
    tokenPlanJson: jsonb("token_plan_json").$type<TokenPlan>(),
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("sessions_user_recent").on(table.userId, table.instanceId, table.lastMessageAt.desc()),
    index("sessions_user_page").on(table.userId, table.startedAt.desc(), table.id.desc()),
    index("sessions_brand_page").on(table.brandId, table.startedAt.desc(), table.id.desc()),
    index("sessions_brand_expired").on(table.brandId, table.expiredAt),
    isOneOf("sessions_channel", table.channel, CHANNELS),
    isObject("sessions_metadata_is_object", table.metadataJson),
    isObject("sessions_token_plan_is_object", table.tokenPlanJson),
  ],
);

/** Tombstones of erased sessions, so that a late ledger entry does not write them again. */
export const erasedSessions = pgTable(
  "erased_sessions",
  {
    sessionId: uuid("session_id").primaryKey(),
    brandId: brandId(),
    createdAt: createdAt(),
  },
  (table) => [index("erased_sessions_recent").on(table.createdAt)],
);

const sessionId = () =>
  uuid("session_id")
    .notNull()
    .references(() => sessions.id, { onDelete: "cascade" });

export const messages = pgTable(
  "messages",
  {
    id: id(),
    brandId: brandId(),
    sessionId: sessionId(),
    instanceId: instanceId(),
    /** null for the assistant, and for a deleted user. */
    userId: uuid("user_id").references(() => users.id, { onDelete: "set null" }),
    turnId: uuid("turn_id"),
    role: text("role", { enum: ROLES }).notNull(),
    content: text("content").notNull(),
    /** Orders a conversation's messages as the model gets them: by turn, then role. */
    seq: bigint("seq", { mode: "number" }).notNull(),
    requestId: text("request_id"),
    traceId: text("trace_id"),
    channelMessageId: text("channel_message_id"),
    /** True once the turn of a user message is answered. */
    processed: boolean("processed").notNull().default(false),
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("messages_page").on(table.sessionId, table.createdAt.desc(), table.seq.desc()),
    index("messages_user").on(table.userId),
    index("messages_session_request")
      .on(table.sessionId, table.requestId)
      .where(sql`${table.requestId} is not null`),
    uniqueIndex("messages_channel_message")
      .on(table.instanceId, table.channelMessageId)
      .where(sql`${table.channelMessageId} is not null`),
    isOneOf("messages_role", table.role, ROLES),
    isObject("messages_metadata_is_object", table.metadataJson),
  ],
);

/** One row per turn: the orchestrator's token counts and their cost. Sums are computed over rows; there are no counters. */
export const sessionTokenUsage = pgTable(
  "session_token_usage",
  {
    id: id(),
    brandId: brandId(),
    sessionId: sessionId(),
    turnId: uuid("turn_id"),
    templateKey: text("template_key").notNull(),
    functionName: text("function_name").notNull(),
    plannedTokens: integer("planned_tokens").notNull(),
    sentTokens: integer("sent_tokens").notNull(),
    receivedTokens: integer("received_tokens").notNull(),
    totalTokens: integer("total_tokens").notNull(),
    llmModelId: uuid("llm_model_id").references(() => llmModels.id, { onDelete: "set null" }),
    inputPricePer1k: numeric("input_price_per_1k"),
    outputPricePer1k: numeric("output_price_per_1k"),
    /** null when the model has no price. */
    costUsd: numeric("cost_usd"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("session_token_usage_session").on(table.sessionId, table.createdAt),
    index("session_token_usage_brand").on(table.brandId, table.createdAt),
  ],
);

/** Decides which run counts: a turn's messages and usage are inserted only if its row here was won. */
export const idempotencyLocks = pgTable(
  "idempotency_locks",
  {
    id: id(),
    /** The full idempotency key, `{instance}:{session}:{request}`. */
    requestId: text("request_id").notNull().unique(),
    brandId: brandId(),
    sessionId: sessionId(),
    turnId: uuid("turn_id").notNull(),
    fence: integer("fence").notNull(),
    lockedAt: moment("locked_at").notNull(),
    expiresAt: moment("expires_at").notNull(),
    /** `cached_response`: the first answer's data. */
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("idempotency_locks_expires").on(table.expiresAt),
    index("idempotency_locks_session").on(table.sessionId),
    isObject("idempotency_locks_metadata_is_object", table.metadataJson),
  ],
);

/** Entries and messages that were refused, stored once and complete for an operator. */
export const deadLetters = pgTable(
  "dead_letters",
  {
    /** The entry's id, so that a repeated write is the same dead letter. */
    id: id(),
    brandId: uuid("brand_id"),
    source: text("source").notNull(),
    address: text("address"),
    reason: text("reason").notNull(),
    payloadJson: jsonObject("payload_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("dead_letters_recent").on(table.createdAt),
    isObject("dead_letters_payload_is_object", table.payloadJson),
  ],
);
