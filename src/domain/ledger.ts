import type { Channel } from "./channel.ts";
import type { Edit } from "./amendment.ts";
import type { Delivery } from "./delivery.ts";
import type { Role } from "./role.ts";
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

/** An entry has fewer messages than this, so that `seq` orders entries first and messages within them second. */
const SEQ_STEP = 1_000;

/** The entry with the `seq` its position in the conversation gives to its messages. */
export const placeEntry = (entry: NewEntry, position: number): LedgerEntry => ({
  ...entry,
  messages: entry.messages.map((message, index) => ({ ...message, seq: position * SEQ_STEP + index })),
});

/**
 * An entry as its conversation stored it. Positions count from 1 in each `generation` of the conversation's storage: an
 * object that has deleted everything starts a new one, and a late confirmation of an older one is ignored.
 */
export type StoredEntry = { generation: string; position: number; json: string };

/** UTF-16 units, at most 3 bytes each: a queue message takes 128,000 bytes. */
const MAX_CARRIED = 40_000;

/** Whether an entry may travel with its answer. The ledger pulls a larger one from its conversation. */
export const isCarried = ({ json }: StoredEntry): boolean => json.length <= MAX_CARRIED;

/** Positions of entries that are in Postgres (or in `dead_letters`). */
export type WrittenEntries = { generation: string; positions: number[] };

/** Entries of a conversation that are not known to be in Postgres. */
export type PendingEntries = {
  address: string;
  generation: string;
  entries: {
    position: number;
    /** A message that has a row if the entry was written; null when no row proves it. */
    messageId: string | null;
  }[];
};

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

/** A message was edited, or revoked (`edit` null): its row is changed, if there is one. */
export type AmendmentNotice = {
  kind: "amendment";
  brandId: string;
  instanceId: string;
  channelMessageId: string;
  /** Of the sender, who amends their own messages only. */
  role: Role;
  at: number;
  edit: Edit | null;
  /** Whether revoked content is deleted. */
  isBlanked: boolean;
};

/** What a channel told about its contact: `profile`, `marketing`. Merged into the user's metadata under the channel. */
export type ContactNotice = {
  kind: "contact";
  brandId: string;
  userId: string;
  channel: Channel;
  about: Record<string, unknown>;
};

/** Changes besides entries. */
export type LedgerNotice = DeliveryNotice | DeadLetter | AmendmentNotice | ContactNotice;

/**
 * Entries and notices of one conversation in order, a notice after the entry it is about, with the positions that a
 * confirmation names. `more`: the conversation holds more than fits into the bytes asked for.
 */
export type LedgerPull = WrittenEntries & { entries: LedgerEntry[]; notices: LedgerNotice[]; more: boolean };

/** An entry's turn with its full idempotency key. */
export type KeyedEntry = Omit<LedgerEntry, "turn"> & { turn: (LedgerTurn & { key: string }) | null };
