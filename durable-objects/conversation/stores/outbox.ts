import type { LedgerEntry, LedgerNotice, LedgerPull, NewEntry } from "../../../src/domain/ledger.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "./state.ts";
import type { Delivery } from "../../../src/domain/delivery.ts";
import type { Message } from "../../../src/domain/message.ts";

/** More than an entry has messages, so that `seq` orders by entry and then within it. */
const SEQ_STEP = 1_000;

/** Confirmed entries kept as history for the model. */
const KEPT_FOR_HISTORY = 20;

/** Ledger entries not yet confirmed by Postgres, in order, plus the last 20 as history for the model. */
export class Outbox {
  readonly #storage: Storage;
  readonly #state: Pick<StateStore, "get" | "set">;
  /** Postgres has the entries up to this position. In memory until `prune`, see `confirm`. */
  #confirmedUpTo: number;
  /** The highest position this incarnation handed out; a confirmation is capped at it. */
  #pulledUpTo = 0;
  /** Messages of the last requested session by entry, so that only newer entries are read again. */
  #tail: { sessionId: string; upTo: number; said: Message[][] } = { sessionId: "", upTo: 0, said: [] };

  constructor(storage: Storage, state: Pick<StateStore, "get" | "set">) {
    this.#storage = storage;
    this.#state = state;
    this.#confirmedUpTo = state.get("confirmedUpTo") ?? 0;
  }

  add(entry: NewEntry): void {
    this.#storage.sql.exec(
      "INSERT INTO entries (session_id, entry) VALUES (?, ?)",
      entry.session.id,
      JSON.stringify(entry),
    );
  }

  /** Adds a notice, which belongs to no session. */
  addNotice(notice: LedgerNotice): void {
    this.#storage.sql.exec("INSERT INTO entries (session_id, entry) VALUES ('', ?)", JSON.stringify(notice));
  }

  /** Entries oldest first: at least one, then as many as fit into `maxBytes` (UTF-16 units of their JSON). */
  pull(maxBytes: number): LedgerPull {
    const rows = this.#storage.sql
      .exec<PulledRow>(
        `SELECT position, session_id, entry FROM (
           SELECT position, session_id, entry, sum(length(entry)) OVER (ORDER BY position) - length(entry) AS before
           FROM entries WHERE position > ? ORDER BY position LIMIT 500
         ) WHERE before = 0 OR before + length(entry) <= ? ORDER BY position`,
        this.#confirmedUpTo,
        maxBytes,
      )
      .toArray();
    const upTo = rows.at(-1)?.position ?? 0;
    this.#pulledUpTo = Math.max(this.#pulledUpTo, upTo);
    return {
      entries: rows.filter(({ session_id }) => session_id !== "").map(toEntry),
      notices: rows.filter(({ session_id }) => session_id === "").map(({ entry }) => JSON.parse(entry) as LedgerNotice),
      upTo,
      more: this.pendingCount() > rows.length,
    };
  }

  /**
   * Postgres has the entries up to a position. Kept in memory until `prune`: an object that dies first sends the entries
   * again, and Postgres deduplicates by id. Positions restart after the object emptied itself, so a late confirmation is
   * capped at what this incarnation handed out.
   */
  confirm(upTo: number): void {
    this.#confirmedUpTo = Math.max(this.#confirmedUpTo, Math.min(upTo, this.#pulledUpTo));
  }

  /** Deletes confirmed entries, except the newest that serve as history. */
  prune(): void {
    this.#storage.transactionSync(() => {
      if (this.#confirmedUpTo > 0) this.#state.set("confirmedUpTo", this.#confirmedUpTo);
      this.#storage.sql.exec(
        `DELETE FROM entries WHERE position <= ? AND (session_id = '' OR position < (
           SELECT min(position) FROM (
             SELECT position FROM entries WHERE session_id <> '' ORDER BY position DESC LIMIT ${KEPT_FOR_HISTORY}
           )))`,
        this.#confirmedUpTo,
      );
    });
  }

  pendingCount(): number {
    const [row] = this.#storage.sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM entries WHERE position > ?", this.#confirmedUpTo)
      .toArray();
    return row?.n ?? 0;
  }

  /** Unconfirmed entries of a session, oldest first. */
  pendingOfSession(sessionId: string): LedgerEntry[] {
    return this.#storage.sql
      .exec<Row>(
        "SELECT position, entry FROM entries WHERE position > ? AND session_id = ? ORDER BY position",
        this.#confirmedUpTo,
        sessionId,
      )
      .toArray()
      .map(toEntry);
  }

  /** The session of the newest entry about it, or null. */
  lastSession(sessionId: string): Session | null {
    const [row] = this.#storage.sql
      .exec<Row>("SELECT position, entry FROM entries WHERE session_id = ? ORDER BY position DESC LIMIT 1", sessionId)
      .toArray();
    return row ? toEntry(row).session : null;
  }

  /** A session's last messages in the model's order: a turn's messages stand together. Empty messages are left out. */
  history(sessionId: string): Message[] {
    const tail = this.#tail.sessionId === sessionId ? this.#tail : { sessionId, upTo: 0, said: [] };
    const added = this.#storage.sql
      .exec<Row>(
        `SELECT position, entry FROM entries WHERE session_id = ? AND position > ?
         ORDER BY position DESC LIMIT ${KEPT_FOR_HISTORY}`,
        sessionId,
        tail.upTo,
      )
      .toArray()
      .toReversed();
    const said = [...tail.said, ...added.map((row) => toEntry(row).messages)].slice(-KEPT_FOR_HISTORY);
    this.#tail = { sessionId, upTo: added.at(-1)?.position ?? tail.upTo, said };
    return said.flat().filter(({ content, metadata }) => content !== "" && !isUnsentBroadcast(metadata));
  }

  /** Changes stored messages in place: the one with an id, or those with an id of the channel. */
  amend(key: { id: string } | { channelMessageId: string }, change: (message: StoredMessage) => StoredMessage): void {
    const isMeant = (message: StoredMessage) =>
      "id" in key ? message.id === key.id : message.channelMessageId === key.channelMessageId;
    const rows = this.#storage.sql
      .exec<Row>(
        "SELECT position, entry FROM entries WHERE session_id <> '' AND instr(entry, ?) > 0",
        JSON.stringify("id" in key ? key.id : key.channelMessageId),
      )
      .toArray();
    for (const { position, entry: json } of rows) {
      const entry = JSON.parse(json) as NewEntry;
      if (!entry.messages.some(isMeant)) continue;
      const messages = entry.messages.map((message) => (isMeant(message) ? change(message) : message));
      this.#storage.sql.exec(
        "UPDATE entries SET entry = ? WHERE position = ?",
        JSON.stringify({ ...entry, messages }),
        position,
      );
      this.#tail = { sessionId: "", upTo: 0, said: [] };
    }
  }

  /** Deletes all confirmed entries: their session is over. */
  forgetHistory(): void {
    this.#storage.sql.exec("DELETE FROM entries WHERE position <= ?", this.#confirmedUpTo);
    this.#tail = { sessionId: "", upTo: 0, said: [] };
  }
}

/** A broadcast's message that the channel did not deliver was never seen by the user. */
const isUnsentBroadcast = ({ broadcast_id, delivery }: Message["metadata"]): boolean =>
  broadcast_id !== undefined && (delivery as Delivery | undefined)?.state === "failed";

type StoredMessage = NewEntry["messages"][number];
type Row = { position: number; entry: string };
type PulledRow = Row & { session_id: string };

function toEntry({ position, entry: json }: Row): LedgerEntry {
  const entry = JSON.parse(json) as NewEntry;
  return {
    ...entry,
    messages: entry.messages.map((message, index) => ({ ...message, seq: position * SEQ_STEP + index })),
  };
}
