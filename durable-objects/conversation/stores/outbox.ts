import { placeEntry } from "../../../src/domain/ledger.ts";
import type {
  LedgerEntry,
  LedgerNotice,
  LedgerPull,
  NewEntry,
  PendingEntries,
  StoredEntry,
  WrittenEntries,
} from "../../../src/domain/ledger.ts";
import type { Message } from "../../../src/domain/message.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "./state.ts";
import { amendMessages, findMessage } from "./stored-messages.ts";
import type { MessageKey, StoredMessage } from "./stored-messages.ts";
import { History, KEPT_FOR_HISTORY } from "./history.ts";

/** How many pending entries one look-up names; the others are named by the next. */
const MAX_LOOKED_UP = 100;

/** Rows read at once: a row may be 2 MB. */
const READ_AT_ONCE = 20;

/**
 * Ledger entries in order: those that are not known to be in Postgres, and the newest of those that are, because the model
 * is told the history.
 */
export class Outbox {
  readonly #storage: Storage;
  readonly #state: Pick<StateStore, "get" | "set" | "persist">;
  readonly #now: () => number;
  /** Entries up to here are in Postgres. Written to storage by `prune`; a new incarnation may look some up once more. */
  #writtenUpTo: number;
  /** The position of the newest entry. */
  #newest = 0;
  /** Entries by position, in order, that are not known to be in Postgres. */
  #pending = new Map<number, Pending>();
  readonly #history: History;

  constructor(storage: Storage, state: Pick<StateStore, "get" | "set" | "persist">, now: () => number = Date.now) {
    this.#storage = storage;
    this.#state = state;
    this.#now = now;
    this.#history = new History(storage);
    this.#writtenUpTo = state.get("confirmedUpTo") ?? 0;
    this.#loadPending();
  }

  /** Reads what is pending again, after a transaction was rolled back. */
  reload(): void {
    this.#history.forget();
    this.#loadPending();
  }

  /** Appends an entry and returns it as it travels with its answer. */
  add(entry: NewEntry): StoredEntry {
    const json = JSON.stringify(entry);
    const pending = { messageId: entry.messages[0]?.id ?? null, addedAt: this.#now() };
    const position = this.#insert(entry.session.id, json, pending);
    this.#history.append(placeEntry(entry, position));
    return { generation: this.#generation(), position, json };
  }

  /** Appends a notice, which belongs to no session. */
  addNotice(notice: LedgerNotice): void {
    this.#insert("", JSON.stringify(notice), { messageId: null, addedAt: this.#now() });
  }

  /** Entries oldest first: at least one, then as many as fit into `maxBytes` (UTF-8 bytes of their JSON). */
  pull(maxBytes: number): LedgerPull {
    const rows = this.#storage.sql
      .exec<Row & { session_id: string }>(
        `SELECT position, session_id, entry FROM (
           SELECT position, session_id, entry, sum(length(CAST(entry AS BLOB))) OVER (ORDER BY position) AS bytes
           FROM entries WHERE position > ? ORDER BY position LIMIT 500
         ) WHERE bytes = length(CAST(entry AS BLOB)) OR bytes <= ? ORDER BY position`,
        this.#writtenUpTo,
        maxBytes,
      )
      .toArray();
    const positions = rows.map(({ position }) => position);
    return {
      generation: this.#generation(),
      positions,
      entries: rows.filter(({ session_id }) => session_id !== "").map(toEntry),
      notices: rows.filter(({ session_id }) => session_id === "").map(({ entry }) => JSON.parse(entry) as LedgerNotice),
      more: this.#pending.size > positions.filter((position) => this.#pending.has(position)).length,
    };
  }

  /**
   * Marks entries as written. Ignores a confirmation for an older generation of the storage. Costs no commit: an object
   * that is evicted before `prune` has its entries looked up once more.
   */
  confirm({ generation, positions }: WrittenEntries): void {
    if (generation !== this.#state.get("generation")) return;
    for (const position of positions) this.#pending.delete(position);
    const [firstPending] = this.#pending.keys();
    this.#writtenUpTo = firstPending === undefined ? this.#newest : firstPending - 1;
  }

  /** The oldest pending entries, for a look-up in Postgres; null when nothing is pending. */
  pendingEntries(address: string): PendingEntries | null {
    if (this.#pending.size === 0) return null;
    const entries = [...this.#pending]
      .slice(0, MAX_LOOKED_UP)
      .map(([position, { messageId }]) => ({ position, messageId }));
    return { address, generation: this.#generation(), entries };
  }

  /** Deletes written entries except the newest, which the history needs. */
  prune(): void {
    this.#storage.transactionSync(() => {
      this.#state.persist("session");
      if (this.#writtenUpTo > 0) this.#state.set("confirmedUpTo", this.#writtenUpTo);
      this.#storage.sql.exec(
        `DELETE FROM entries WHERE position <= ? AND (session_id = '' OR position < (
           SELECT min(position) FROM (
             SELECT position FROM entries WHERE session_id <> '' ORDER BY position DESC LIMIT ${KEPT_FOR_HISTORY}
           )))`,
        this.#writtenUpTo,
      );
    });
  }

  /** When the oldest pending entry was added, in epoch milliseconds; 0 if another incarnation added it, null for none. */
  oldestPendingAt(): number | null {
    return this.#pending.values().next().value?.addedAt ?? null;
  }

  pendingCount(): number {
    return this.#pending.size;
  }

  /** Entries of a session that are not known to be in Postgres, newest first. Reads a few at a time: they may be large. */
  *pendingOfSession(sessionId: string): Generator<LedgerEntry> {
    if (this.#pending.size === 0) return;
    for (let before = Number.MAX_SAFE_INTEGER; ;) {
      const rows = this.#storage.sql
        .exec<Row>(
          `SELECT position, entry FROM entries WHERE position > ? AND position < ? AND session_id = ?
           ORDER BY position DESC LIMIT ${READ_AT_ONCE}`,
          this.#writtenUpTo,
          before,
          sessionId,
        )
        .toArray();
      for (const row of rows) if (this.#pending.has(row.position)) yield toEntry(row);
      const last = rows.at(-1);
      if (last === undefined || rows.length < READ_AT_ONCE) return;
      before = last.position;
    }
  }

  /** A session as its newest stored entry has it; null when there is none. */
  lastSession(sessionId: string): Session | null {
    const [row] = this.#storage.sql
      .exec<Row>("SELECT position, entry FROM entries WHERE session_id = ? ORDER BY position DESC LIMIT 1", sessionId)
      .toArray();
    return row ? toEntry(row).session : null;
  }

  /** The last messages of a session in the order the model gets them, without empty ones. */
  history(sessionId: string): Message[] {
    return this.#history.of(sessionId);
  }

  /** Changes stored messages in place: the one with an id, or those with an id of the channel. */
  amend(key: MessageKey, change: (message: StoredMessage) => StoredMessage): void {
    if (amendMessages(this.#storage, key, change)) this.#history.forget();
  }

  /** A stored message by its id or by its id at the channel; null when there is none. */
  find(key: MessageKey): StoredMessage | null {
    return findMessage(this.#storage, key);
  }

  /** Deletes written entries: the session they belong to is over. */
  forgetHistory(): void {
    this.#state.persist("session");
    this.#storage.sql.exec("DELETE FROM entries WHERE position <= ?", this.#writtenUpTo);
    this.#history.forget();
  }

  /** Deletes the entries of a session, or of every session; notices stay. */
  deleteEntries(sessionId?: string): void {
    const [condition, value] = sessionId === undefined ? ["<> ?", ""] : ["= ?", sessionId];
    this.#storage.sql.exec(`DELETE FROM entries WHERE session_id ${condition}`, value);
    this.reload();
  }

  /** Deletes pending dead letters about messages that were admitted since a moment. */
  deleteDeadLetters(since: number): void {
    this.#storage.sql.exec(
      `DELETE FROM entries WHERE session_id = '' AND json_extract(entry, '$.kind') = 'dead_letter'
         AND json_extract(entry, '$.id') IN (SELECT turn_id FROM turns WHERE state = 'rejected' AND admitted_at >= ?)`,
      since,
    );
    this.#loadPending();
  }

  /** Identifies one life of the storage: positions start again after the object has deleted everything. */
  #generation(): string {
    const generation = this.#state.get("generation") ?? crypto.randomUUID();
    this.#state.set("generation", generation);
    return generation;
  }

  #insert(sessionId: string, json: string, pending: Pending): number {
    const [row] = this.#storage.sql
      .exec<{ position: number }>(
        "INSERT INTO entries (session_id, entry) VALUES (?, ?) RETURNING position",
        sessionId,
        json,
      )
      .toArray();
    if (row === undefined) throw new Error("An insert returned no row");
    this.#newest = row.position;
    this.#pending.set(row.position, pending);
    return row.position;
  }

  #loadPending(): void {
    const rows = this.#storage.sql
      .exec<{ position: number; message_id: string | null }>(
        "SELECT position, json_extract(entry, '$.messages[0].id') AS message_id FROM entries WHERE position > ? ORDER BY position",
        this.#writtenUpTo,
      )
      .toArray();
    const addedAt = new Map([...this.#pending].map(([position, pending]) => [position, pending.addedAt]));
    this.#pending = new Map(
      rows.map(({ position, message_id }) => [
        position,
        { messageId: message_id, addedAt: addedAt.get(position) ?? 0 },
      ]),
    );
    this.#newest = Math.max(this.#writtenUpTo, rows.at(-1)?.position ?? 0);
  }
}

type Pending = {
  /** A message that has a row in Postgres if the entry was written; null when no row proves it. */
  messageId: string | null;
  /** Epoch milliseconds; 0 when another incarnation added it. */
  addedAt: number;
};

type Row = { position: number; entry: string };

const toEntry = ({ position, entry }: Row): LedgerEntry => placeEntry(JSON.parse(entry) as NewEntry, position);
