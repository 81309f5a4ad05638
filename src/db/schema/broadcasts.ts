import { sql } from "drizzle-orm";
import { index, integer, jsonb, pgTable, text, uniqueIndex, uuid } from "drizzle-orm/pg-core";
import { RECIPIENT_STATES } from "../../domain/broadcast.ts";
import type { BroadcastReply } from "../../domain/broadcast.ts";
import { brands, instances } from "./brands.ts";
import { createdAt, id, isObject, isOneOf, jsonObject, moment, updatedAt } from "./columns.ts";
import { users } from "./people.ts";

export const broadcasts = pgTable(
  "broadcasts",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    instanceId: uuid("instance_id")
      .notNull()
      .references(() => instances.id, { onDelete: "cascade" }),
    requestId: text("request_id").notNull(),
    fingerprint: text("fingerprint").notNull(),
    content: text("content").notNull(),
    traceId: text("trace_id"),
    /** The first answer, repeated for the same request id. */
    answerJson: jsonb("answer_json")
      .$type<BroadcastReply>()
      .notNull()
      .default(sql`'{}'::jsonb`),
    cancelledAt: moment("cancelled_at"),
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    uniqueIndex("broadcasts_request").on(table.instanceId, table.requestId),
    index("broadcasts_brand").on(table.brandId, table.createdAt),
    isObject("broadcasts_metadata_is_object", table.metadataJson),
    isObject("broadcasts_answer_is_object", table.answerJson),
  ],
);

/** The recipients, fixed when the broadcast is created: one row per user. */
export const broadcastRecipients = pgTable(
  "broadcast_recipients",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    broadcastId: uuid("broadcast_id")
      .notNull()
      .references(() => broadcasts.id, { onDelete: "cascade" }),
    userId: uuid("user_id")
      .notNull()
      .references(() => users.id, { onDelete: "cascade" }),
    /** Fixed when the broadcast is created, so that a repeated delivery is the same message. */
    messageId: uuid("message_id").notNull(),
    state: text("state", { enum: RECIPIENT_STATES }).notNull().default("pending"),
    attempts: integer("attempts").notNull().default(0),
    /** Earliest claim: the end of the pause while `pending`, of the lease while `claimed`. */
    dueAt: moment("due_at")
      .notNull()
      .default(sql`now()`),
    errorCode: text("error_code"),
    errorMessage: text("error_message"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    uniqueIndex("broadcast_recipients_once").on(table.broadcastId, table.userId),
    index("broadcast_recipients_state").on(table.broadcastId, table.state),
    index("broadcast_recipients_user").on(table.userId),
    isOneOf("broadcast_recipients_states", table.state, RECIPIENT_STATES),
  ],
);
