import type { Channel } from "./channel.ts";
import type { Delivery, DeliveryState } from "./delivery.ts";
import type { ErrorCode } from "./errors.ts";
import type { ChannelEndpoint, ChannelIdentity } from "./inbound-message.ts";
import type { WhatsAppTemplate } from "./instance.ts";
import type { Session } from "./session.ts";
/**
 * Where a broadcast stands with one person.
 *
 *   pending ──▶ claimed ──▶ sent
 *      ▲  │        │ │
 *      │  │        │ └────▶ failed ──▶ (pending, when somebody asks for a retry)
 *      │  └──────▶ cancelled │
 *      └───────────┘  a pause, after a failure that may pass
 *
 * A claim is a lease: one that is over may be claimed again, because a message that comes twice is kept once.
 */
export const RECIPIENT_STATES = ["pending", "claimed", "sent", "failed", "cancelled"] as const;
export type RecipientState = (typeof RECIPIENT_STATES)[number];

/** Derived from the recipients: `sending` while anybody is pending or claimed. */
export const BROADCAST_STATES = ["sending", "completed", "cancelled"] as const;
export type BroadcastState = (typeof BROADCAST_STATES)[number];

export const MAX_RECIPIENTS = 100;

/** After this many attempts a recipient is failed and stays so until somebody asks for a retry. */
export const MAX_ATTEMPTS = 5;

/** How long a claimed recipient is left to whoever claimed it. Longer than an attempt can take. */
export const CLAIM_MS = 30_000;

const FIRST_PAUSE_MS = 2_000;
const MAX_PAUSE_MS = 300_000;

/** Why somebody was not reached. */
export type RecipientError = { code: ErrorCode; message: string };

/** What the one who sends a broadcast is told, at first and whenever they ask again. Field names are the API's. */
export type BroadcastAnswer = {
  broadcast_id: string;
  summary: { total: number; successful: number; failed: number };
  results: (
    | { user_id: string; success: true; message_id: string }
    | { user_id: string; success: false; error: RecipientError }
  )[];
};

/** The broadcast as its recipients share it. */
export type Broadcast = {
  id: string;
  brandId: string;
  instanceId: string;
  /** The instance's; and false when somebody has switched it off since. */
  channel: Channel;
  isActive: boolean;
  sessionTimeoutMinutes: number | null;
  /** The business's end of the channel the instance goes through; null for a chat. */
  business: (ChannelEndpoint & { template: WhatsAppTemplate | null }) | null;
  content: string;
  metadata: Record<string, unknown>;
  traceId: string | null;
};

/** One person of the audience, claimed. `attempts` counts this one. */
export type Recipient = {
  id: string;
  userId: string;
  messageId: string;
  attempts: number;
  /** Their end of the channel the instance goes through; null when they have none, and in a chat. */
  person: ChannelIdentity | null;
  /** In a chat, the open session Postgres knows of. */
  openSession: Session | null;
};

/** What an attempt came to. `refused` would be refused again; `failed` may pass. */
export type Attempt = { kind: "sent" } | ({ kind: "refused" | "failed" } & RecipientError);

/** What is to be written of an attempt. */
export type Verdict = {
  recipientId: string;
  state: Extract<RecipientState, "pending" | "sent" | "failed">;
  /** Until the next attempt. */
  pauseMs: number;
  error: RecipientError | null;
};

/** `random` is in [0, 1): half of the pause is drawn, so that those who failed together don't come back together. */
export function verdictOn({ id, attempts }: Recipient, attempt: Attempt, random: number): Verdict {
  if (attempt.kind === "sent") return { recipientId: id, state: "sent", pauseMs: 0, error: null };
  const { kind, code, message } = attempt;
  const error = { code, message };
  if (kind === "refused" || attempts >= MAX_ATTEMPTS) return { recipientId: id, state: "failed", pauseMs: 0, error };
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** (attempts - 1), MAX_PAUSE_MS);
  return { recipientId: id, state: "pending", pauseMs: Math.round(pause * (0.5 + random / 2)), error };
}

/** Where a broadcast stands, counted from its rows, and one page of them in the order of their user ids. */
export type Progress = {
  id: string;
  instanceId: string;
  requestId: string;
  content: string;
  createdAt: number;
  cancelledAt: number | null;
  counts: Record<RecipientState, number>;
  /** What the channel says of the messages that were sent through one. */
  deliveries: Partial<Record<DeliveryState, number>>;
  recipients: RecipientProgress[];
};

export type RecipientProgress = {
  userId: string;
  messageId: string;
  state: RecipientState;
  attempts: number;
  error: RecipientError | null;
  /** null in a chat, and before the channel has been asked. */
  delivery: Delivery | null;
};

export type RecipientPage = {
  /** At most so many; 0 for the counts alone. */
  limit: number;
  /** Those that come after this user id. */
  after: string | null;
  state: RecipientState | null;
};

export const stateOf = ({ cancelledAt, counts }: Pick<Progress, "cancelledAt" | "counts">): BroadcastState => {
  if (cancelledAt !== null) return "cancelled";
  return counts.pending + counts.claimed > 0 ? "sending" : "completed";
};
