import type { Channel } from "./channel.ts";
import type { Delivery } from "./delivery.ts";
import type { Session } from "./session.ts";
import type { UsageRecord } from "./usage.ts";
import type { Message } from "./message.ts";

/** The lock row that decides whether a turn's messages are inserted. */
export type LedgerTurn = {
  id: string;
  scope: string;
  requestId: string;
  fence: number;
  lockedAt: number;
  expiresAt: number;
  cachedResponse: Record<string, unknown>;
};

/** Usage of a turn. */
export type LedgerUsage = UsageRecord & { id: string };

/** All rows of one turn or recording. Complete in itself, so that any batch may contain it. */
export type LedgerEntry = {
  id: string;
  address: string;
  session: Session;
  /** The session this one replaced, and when it ended. */
  closed: { sessionId: string; expiredAt: number } | null;
  /** null for transcripts and broadcast messages, which are no turns. */
  turn: LedgerTurn | null;
  messages: Message[];
  usage: LedgerUsage | null;
};

/** An entry before it is added: its position in the outbox becomes its place in the conversation. */
export type NewEntry = Omit<LedgerEntry, "messages"> & { messages: Omit<Message, "seq">[] };

/** A message's delivery has changed. `content` is what was sent when that is not the message itself: a template. */
export type DeliveryNotice = {
  kind: "delivery";
  brandId: string;
  messageId: string;
  delivery: Delivery;
  content?: string | null;
};

/** Input that belongs to no session, stored unchanged for an operator. */
export type DeadLetter = {
  kind: "dead_letter";
  /** Stable over repeated writes. */
  id: string;
  brandId: string | null;
  address: string;
  source: Channel;
  reason: string;
  payload: Record<string, unknown>;
};

/** Changes besides entries. */
export type LedgerNotice = DeliveryNotice | DeadLetter;

/**
 * Entries and notices of one conversation in order, a notice after the entry it refers to. `upTo` is the position to
 * confirm; `more` is set when the byte limit was reached before the last entry.
 */
export type LedgerPull = { entries: LedgerEntry[]; notices: LedgerNotice[]; upTo: number; more: boolean };

/** An entry's turn with its full idempotency key. */
export type KeyedEntry = Omit<LedgerEntry, "turn"> & { turn: (LedgerTurn & { key: string }) | null };
