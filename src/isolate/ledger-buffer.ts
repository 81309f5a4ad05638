import { byteLength } from "../domain/json.ts";
import { entriesMessage } from "../domain/ledger-message.ts";
import type { StoredEntry } from "../domain/ledger.ts";

/** Longest time an entry waits for others. */
const MAX_DELAY_MS = 250;
const MAX_ENTRIES = 100;
/** Bytes of a message; the limit of a queue is 128,000. A larger entry (see `isCarried`) is a message of its own. */
const MAX_BYTES = 100_000;

type Batch = { entries: StoredEntry[]; bytes: number; openedAt: number };

type Options = {
  report: (error: unknown, entries: number) => void;
  now: () => number;
  /** Resolves after this many milliseconds. */
  pause?: (ms: number) => Promise<void>;
};

/** The request that brings an entry: `send` puts a message into the queue, `background` keeps the request alive for it. */
export type CarryingRequest = {
  send: (message: string) => Promise<unknown>;
  background: (work: Promise<unknown>) => void;
};

/**
 * Buffers the ledger entries of an isolate's requests and sends them as one queue message. A lost entry is sent again by
 * its conversation.
 */
export class LedgerBuffer {
  readonly #options: Required<Options>;
  #open: Batch | null = null;

  constructor(options: Options) {
    this.#options = { pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)), ...options };
  }

  /** Adds an entry. The request that opens a batch sends it; when that request is cancelled, the next one does. */
  add(entry: StoredEntry, request: CarryingRequest): void {
    const { background } = request;
    const { now } = this.#options;
    const bytes = byteLength(entry.json);
    if (this.#open !== null && this.#open.bytes + bytes > MAX_BYTES) background(this.#send(this.#open, request));
    const abandoned = this.#open !== null && now() - this.#open.openedAt > 2 * MAX_DELAY_MS;
    const isFirst = this.#open === null || abandoned;
    const batch = (this.#open ??= { entries: [], bytes: 0, openedAt: now() });
    batch.entries.push(entry);
    batch.bytes += bytes;
    if (batch.entries.length >= MAX_ENTRIES || batch.bytes >= MAX_BYTES) background(this.#send(batch, request));
    else if (isFirst) {
      batch.openedAt = now();
      background(this.#sendLater(batch, request));
    }
  }

  async #sendLater(batch: Batch, request: CarryingRequest): Promise<void> {
    await this.#options.pause(MAX_DELAY_MS);
    if (this.#open === batch) await this.#send(batch, request);
  }

  async #send(batch: Batch, { send }: CarryingRequest): Promise<void> {
    if (this.#open === batch) this.#open = null;
    try {
      await send(entriesMessage(batch.entries));
    } catch (error) {
      this.#options.report(error, batch.entries.length);
    }
  }
}
