import type { WrittenEntries } from "../domain/ledger.ts";

/** Conversations remembered at once; the oldest is dropped first. */
const MAX_CONVERSATIONS = 10_000;

/**
 * Entries that this isolate has written to Postgres and not reported to their conversations. The next call to a conversation
 * reports them; a conversation asks about entries that were dropped here.
 */
export class WrittenEntriesLog {
  readonly #written = new Map<string, WrittenEntries>();

  add(address: string, generation: string, position: number): void {
    const known = this.#written.get(address);
    if (known?.generation === generation) {
      known.positions.push(position);
      return;
    }
    this.#written.set(address, { generation, positions: [position] });
    if (this.#written.size <= MAX_CONVERSATIONS) return;
    const [oldest] = this.#written.keys();
    if (oldest !== undefined) this.#written.delete(oldest);
  }

  /** Removes and returns a conversation's unreported entries; null without any. */
  take(address: string): WrittenEntries | null {
    const written = this.#written.get(address) ?? null;
    this.#written.delete(address);
    return written;
  }
}
