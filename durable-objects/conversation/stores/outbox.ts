import type { LedgerEntry, LedgerNotice, LedgerPull, NewEntry } from "../../../src/domain/ledger.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "./state.ts";
import type { Delivery } from "../../../src/domain/delivery.ts";
import type { Message } from "../../../src/domain/message.ts";

/** An entry has fewer messages than this, so that `seq` orders entries first and messages within them second. */
const SEQ_STEP = 1_000;

/** How many entries the model's history may reach back. */
const KEPT_FOR_HISTORY = 20;

/**
 * What happened in this conversation and Postgres does not know yet, in order; and a little of what it knows, because the
 * model is told what was said before.
 */
export class Outbox {
  readonly #storage: Storage;
  readonly #state: Pick<StateStore, "get" | "set">;
  /** Postgres has everything up to this position. Kept in memory first: it may be forgotten, see `confirm`. */
  #confirmedUpTo: number;
  /** What this incarnation has given away: it can be told of nothing else that Postgres has it. */
  #pulledUpTo = 0;
  /** The tail of the session that was asked for last, by entry: what was added since is all that has to be read again. */
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

  /** Says something that belongs to no session. */
  addNotice(notice: LedgerNotice): void {
    this.#storage.sql.exec("INSERT INTO entries (session_id, entry) VALUES ('', ?)", JSON.stringify(notice));
  }

  /** Oldest first; the first whatever its size, then as many as fit into `maxBytes` (UTF-16 units of their JSON). */
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
   * Postgres has everything up to a position. Not worth a commit of its own: an object that dies before `tidy` brings it
   * once more, and Postgres, which knows every entry by its id, changes nothing. Word that comes late to an object that has
   * emptied itself since, and counts from one again, is about other entries.
   */
  confirm(upTo: number): void {
    this.#confirmedUpTo = Math.max(this.#confirmedUpTo, Math.min(upTo, this.#pulledUpTo));
  }

  /** Drops what Postgres has, but for the tail the model may still be told. */
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

  /** What Postgres isn't known to have of a session, oldest first. */
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

  /** A session as its newest entry here tells it, or null when there is none. */
  lastSession(sessionId: string): Session | null {
    const [row] = this.#storage.sql
      .exec<Row>("SELECT position, entry FROM entries WHERE session_id = ? ORDER BY position DESC LIMIT 1", sessionId)
      .toArray();
    return row ? toEntry(row).session : null;
  }

  /** The last messages of a session in the order the model gets them: a turn's stand together. Not what nobody heard. */
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

  /** Forgets what is confirmed: the session it belongs to is over. */
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
