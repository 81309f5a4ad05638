import type { WrittenEntries } from "../domain/ledger.ts";

/** Conversations that are remembered at once; the longest remembered is dropped first. */
const MAX_CONVERSATIONS = 10_000;

/**
 * Entries this isolate has written to Postgres and their conversations do not know of yet. The next call to a conversation
 * takes them along; what is dropped here the conversation asks for by itself.
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

  /** Removes and returns what a conversation has to be told; null when there is nothing. */
  take(address: string): WrittenEntries | null {
    const written = this.#written.get(address) ?? null;
    this.#written.delete(address);
    return written;
  }
}
