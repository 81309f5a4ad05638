import { z } from "zod";
import { backoff } from "./backoff.ts";
import type { Channel } from "./channel.ts";
import type { Delivery, DeliveryState } from "./delivery.ts";
import { Uuid } from "./ids.ts";
import { Warnings } from "./message.ts";
import type { ChannelEndpoint, ChannelIdentity } from "./inbound-message.ts";
import type { WhatsAppTemplate } from "./instance.ts";
import type { Session } from "./session.ts";

/**
 * States of one recipient.
 *
 *   pending ──▶ claimed ──▶ sent
 *      ▲  │        │ │
 *      │  │        │ └────▶ failed ──▶ (pending, after a retry request)
 *      │  └──────▶ cancelled │
 *      └───────────┘  a pause, after a temporary failure
 *
 * A claim is a lease: an expired one may be claimed again, because conversations deduplicate messages by id.
 */
export const RECIPIENT_STATES = ["pending", "claimed", "sent", "failed", "cancelled"] as const;
export type RecipientState = (typeof RECIPIENT_STATES)[number];

/** Derived from the recipients: `sending` while any of them is pending or claimed. */
export const BROADCAST_STATES = ["sending", "completed", "cancelled"] as const;
export type BroadcastState = (typeof BROADCAST_STATES)[number];

export const MAX_RECIPIENTS = 100;

/** A recipient fails after this many attempts and is attempted again only after a retry request. */
export const MAX_ATTEMPTS = 5;

/** Lease of a claimed recipient. Longer than an attempt can take. */
export const CLAIM_MS = 30_000;

const RETRY = { baseMs: 2_000, maxMs: 300_000, jitter: [0.5, 1] } as const;

/** Why nothing was sent to a recipient. */
export const RecipientError = z
  .object({
    code: z.string().meta({
      description:
        "A code of the error table, `WINDOW_CLOSED`, `OPTED_OUT`, `NOT_CONFIGURED`, or the channel's own code (`131026`)",
      example: "WINDOW_CLOSED",
    }),
    message: z.string(),
  })
  .meta({ id: "RecipientError" });
export type RecipientError = z.infer<typeof RecipientError>;

/** The answer to a broadcast, stored and repeated for the same request id. */
export const BroadcastReply = z
  .object({
    broadcast_id: Uuid,
    summary: z.object({ total: z.int(), successful: z.int(), failed: z.int() }),
    results: z.array(
      z.union([
        z.object({ user_id: Uuid, success: z.literal(true), message_id: Uuid }),
        z.object({ user_id: Uuid, success: z.literal(false), error: RecipientError }),
      ]),
    ),
    warnings: Warnings,
  })
  .meta({ id: "BroadcastReply" });
export type BroadcastReply = z.infer<typeof BroadcastReply>;

/** What all recipients of a broadcast have in common. */
export type Broadcast = {
  id: string;
  brandId: string;
  instanceId: string;
  /** The instance's channel. */
  channel: Channel;
  /** False when the instance was switched off after the broadcast was created. */
  isActive: boolean;
  sessionTimeoutMinutes: number | null;
  /** The business's endpoint on the instance's channel; used where the channel delivers messages. */
  business: (ChannelEndpoint & { template: WhatsAppTemplate | null }) | null;
  content: string;
  metadata: Record<string, unknown>;
  traceId: string | null;
};

/** One claimed recipient. `attempts` includes this one. */
export type Recipient = {
  id: string;
  userId: string;
  messageId: string;
  attempts: number;
  /** The user's identity on the instance's channel; null when there is none, and in a chat. */
  person: ChannelIdentity | null;
  /** True when the user has stopped marketing messages of the business. */
  isOptedOut: boolean;
  /** In a chat, the open session Postgres knows of. */
  openSession: Session | null;
};

/** Outcome of an attempt. `refused` is final; `failed` is temporary and attempted again. */
export type Attempt = { kind: "sent" } | ({ kind: "refused" | "failed" } & RecipientError);

/** The change of a recipient's row after an attempt. */
export type Verdict = {
  recipientId: string;
  state: Extract<RecipientState, "pending" | "sent" | "failed">;
  /** Until the next attempt. */
  pauseMs: number;
  error: RecipientError | null;
};

/** `random` is in [0, 1) and draws the pause, so that recipients that failed together are not retried together. */
export function verdictOn({ id, attempts }: Recipient, attempt: Attempt, random: number): Verdict {
  if (attempt.kind === "sent") return { recipientId: id, state: "sent", pauseMs: 0, error: null };
  const { kind, code, message } = attempt;
  const error = { code, message };
  if (kind === "refused" || attempts >= MAX_ATTEMPTS) return { recipientId: id, state: "failed", pauseMs: 0, error };
  return { recipientId: id, state: "pending", pauseMs: Math.round(backoff(attempts - 1, RETRY, random)), error };
}

/** Progress of a broadcast, counted from its rows, and one page of recipients ordered by user id. */
export type Progress = {
  id: string;
  instanceId: string;
  requestId: string;
  content: string;
  createdAt: number;
  cancelledAt: number | null;
  counts: Record<RecipientState, number>;
  /** Delivery states reported by the channel, where it reports them. */
  deliveries: Partial<Record<DeliveryState, number>>;
  recipients: RecipientProgress[];
};

export type RecipientProgress = {
  userId: string;
  messageId: string;
  state: RecipientState;
  attempts: number;
  error: RecipientError | null;
  /** null in a chat, and before the message was given to the channel. */
  delivery: Delivery | null;
};

export type RecipientPage = {
  /** Page size; 0 for the counts alone. */
  limit: number;
  /** Recipients after this user id. */
  after: string | null;
  state: RecipientState | null;
};

export const stateOf = ({ cancelledAt, counts }: Pick<Progress, "cancelledAt" | "counts">): BroadcastState => {
  if (cancelledAt !== null) return "cancelled";
  return counts.pending + counts.claimed > 0 ? "sending" : "completed";
};
