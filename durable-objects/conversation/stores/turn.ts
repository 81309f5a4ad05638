import type { Outbound } from "../../../src/rpc/conversation.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import type { QuotedMessage } from "../../../src/domain/history.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import type { Turn } from "../../../src/domain/turn.ts";
import type { AuthState, User } from "../../../src/domain/user.ts";

/** The input of a run. Deleted when the turn is settled. */
export type Work = {
  traceId: string;
  channel: Channel;
  content: string;
  metadata: Record<string, unknown>;
  /** Changes of the metadata, by path; told with the answer. */
  warnings?: string[];
  user: User;
  authState: AuthState;
  receivedAt: number;
  /** `created_at` of the message, epoch milliseconds. */
  saidAt: number;
  /** Set for webhook messages: no caller waits, so the reply is sent through the channel. */
  origin: Origin | null;
  /** The channel's id of the quoted message. */
  replyTo?: string | null;
  /** The quoted message as Postgres has it; null when the conversation itself knows it. */
  quoted?: QuotedMessage | null;
};

/** The channel message a turn answers, and the recipient of its reply. */
export type Origin = Outbound & {
  /** The channel's own id of the message. */
  channelMessageId: string;
};

/** A webhook message before its instance and sender are resolved; its turn can't run yet. */
export type Inbound = {
  message: InboundMessage;
  traceId: string;
  receivedAt: number;
  /** `created_at` of the message, epoch milliseconds. A turn stored by an older version has none. */
  saidAt?: number;
};

/** A row of `turns`: the turn, its lock and its idempotency key. */
export type StoredTurn = Turn & {
  position: number;
  scope: string;
  requestId: string;
  turnId: string;
  sessionId: string;
  admittedAt: number;
  /** Set until the message is resolved. */
  inbound: Inbound | null;
  work: Work | null;
  answer: Answer | null;
};

export type NewTurn = Pick<StoredTurn, "scope" | "requestId" | "turnId" | "sessionId" | "fingerprint" | "admittedAt"> &
  ({ work: Work; inbound?: null } | { inbound: Inbound; work?: null });
