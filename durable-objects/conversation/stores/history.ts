import { placeEntry } from "../../../src/domain/ledger.ts";
import type { LedgerEntry, NewEntry } from "../../../src/domain/ledger.ts";
import type { Message } from "../../../src/domain/message.ts";
import type { Storage } from "../../runtime/storage.ts";

/** Entries that supply the model's history. */
export const KEPT_FOR_HISTORY = 20;

/** The newest messages of the session that was asked for last, read from the entries once and then kept in memory. */
export class History {
  readonly #storage: Storage;
  #session: { id: string; messages: Message[][] } | null = null;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** A session's newest messages in order; without empty ones. */
  of(sessionId: string): Message[] {
    if (this.#session?.id !== sessionId) this.#session = { id: sessionId, messages: this.#load(sessionId) };
    return this.#session.messages.flat().filter(({ content }) => content !== "");
  }

  /** Takes an entry that was just stored. */
  append({ session, messages }: LedgerEntry): void {
    if (this.#session?.id !== session.id) return;
    this.#session.messages = [...this.#session.messages, messages].slice(-KEPT_FOR_HISTORY);
  }

  /** Stored entries have changed: they are read again. */
  forget(): void {
    this.#session = null;
  }

  #load(sessionId: string): Message[][] {
    return this.#storage.sql
      .exec<{ position: number; entry: string }>(
        `SELECT position, entry FROM entries WHERE session_id = ? ORDER BY position DESC LIMIT ${KEPT_FOR_HISTORY}`,
        sessionId,
      )
      .toArray()
      .toReversed()
      .map(({ position, entry }) => placeEntry(JSON.parse(entry) as NewEntry, position).messages);
  }
}
