import { z } from "@hono/zod-openapi";
import { BROADCAST_STATES, MAX_RECIPIENTS, RECIPIENT_STATES, RecipientError, stateOf } from "../../domain/broadcast.ts";
import type { Progress } from "../../domain/broadcast.ts";
import { DELIVERY_STATES } from "../../domain/delivery.ts";
import { Uuid } from "../../domain/ids.ts";
import { MessageContent, MessageMetadata } from "../../domain/message.ts";
import { limit } from "../../domain/page.ts";
import { formatIso } from "../../domain/time.ts";
import { RequestIdField } from "../../http/request-ids.ts";

export const BroadcastRequest = z
  .object({
    instance_id: Uuid,
    request_id: RequestIdField.meta({ description: "Identifies this broadcast of the instance permanently" }),
    content: MessageContent,
    user_ids: z.array(Uuid).min(1).max(MAX_RECIPIENTS).meta({ description: "Duplicates are ignored" }),
    trace_id: z.string().nullish(),
    metadata: MessageMetadata.nullish(),
  })
  .meta({ id: "BroadcastRequest" });

export const BROADCAST_EXAMPLE = {
  instance_id: "7f1d0a52-3c5e-4f0e-9a5e-0d6c1c1b2a10",
  request_id: "newsletter-2026-11",
  content: "Our shops are closed on Monday.",
  user_ids: ["0b6c3d8e-9a41-4d57-8e2b-5f1f2d3c4b5a"],
};

export const BroadcastProgress = z
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
      .meta({ description: "Delivery states reported by the channel, where it reports them" }),
  })
  .meta({ id: "BroadcastProgress" });
export type BroadcastProgress = z.infer<typeof BroadcastProgress>;

export const BroadcastDetails = BroadcastProgress.extend({
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
          template: z
            .object({ name: z.string(), language: z.string() })
            .optional()
            .meta({ description: "The template that was sent instead of the message" }),
          error: z.object({ code: z.union([z.int(), z.string()]), reason: z.string() }).optional(),
        })
        .nullable(),
    }),
  ),
  pagination: z.object({ limit: z.int(), has_more: z.boolean(), next_cursor: z.string().nullable() }),
}).meta({ id: "BroadcastDetails" });
export type BroadcastDetails = z.infer<typeof BroadcastDetails>;

export const RecipientQuery = z.object({
  limit,
  after: Uuid.optional().meta({ description: "`next_cursor` of the previous page" }),
  state: z.enum(RECIPIENT_STATES).optional(),
});

export const toProgress = (progress: Progress): BroadcastProgress => ({
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

/** A page of `limit` recipients; `progress` holds one more when there is a next page. */
export function toDetails(progress: Progress, limit: number): BroadcastDetails {
  const recipients = progress.recipients.slice(0, limit);
  const hasMore = progress.recipients.length > limit;
  return {
    ...toProgress(progress),
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
}
