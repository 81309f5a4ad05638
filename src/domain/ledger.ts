import type { Delivery } from "./delivery.ts";
import type { Session } from "./session.ts";
import type { UsageRecord } from "./usage.ts";
import type { Message } from "./message.ts";

/** The row that decides whether a turn's messages count. */
export type LedgerTurn = {
  id: string;
  scope: string;
  requestId: string;
  fence: number;
  lockedAt: number;
  expiresAt: number;
  cachedResponse: Record<string, unknown>;
};

/** What a turn took. */
export type LedgerUsage = UsageRecord & { id: string };

/** All that Postgres has to know of one thing that happened: complete in itself, so that entries may be written in any company. */
export type LedgerEntry = {
  id: string;
  address: string;
  session: Session;
  /** The session this one replaced, and when it ended. */
  closed: { sessionId: string; expiredAt: number } | null;
  /** null for what is no turn: a transcript, a broadcast's message. */
  turn: LedgerTurn | null;
  messages: Message[];
  usage: LedgerUsage | null;
};

/** An entry as it is added: where it comes in its conversation is decided by the order of adding. */
export type NewEntry = Omit<LedgerEntry, "messages"> & { messages: Omit<Message, "seq">[] };

/** A message's delivery has changed. `content` is what was sent when that is not the message itself: a template. */
export type DeliveryNotice = {
  kind: "delivery";
  brandId: string;
  messageId: string;
  delivery: Delivery;
  content?: string | null;
};

/** Something that came in and belongs to no session: kept whole until a person has looked. */
export type DeadLetter = {
  kind: "dead_letter";
  /** The same however often it is told. */
  id: string;
  brandId: string | null;
  address: string;
  source: "whatsapp";
  reason: string;
  payload: Record<string, unknown>;
};

/** What Postgres is told besides entries. */
export type LedgerNotice = DeliveryNotice | DeadLetter;

/**
 * Entries and notices of one conversation, in order, a notice after the entry it is about; `upTo` is what a confirmation
 * names. `more` tells that bytes ran out, not entries.
 */
export type LedgerPull = { entries: LedgerEntry[]; notices: LedgerNotice[]; upTo: number; more: boolean };

/** An entry's turn with its full idempotency key. */
export type KeyedEntry = Omit<LedgerEntry, "turn"> & { turn: (LedgerTurn & { key: string }) | null };
