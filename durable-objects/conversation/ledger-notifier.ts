import type { Outbox } from "./stores/outbox.ts";

/** Not before the object is woken anyway after a turn: an alarm that is set anew for every message costs a write each. */
const FIRST_REPEAT_MS = 9_000;
const MAX_REPEAT_MS = 24_000;

/**
 * Rings the ledger's queue when entries wait. A ring carries nothing but the address and may be lost, doubled or late:
 * as long as entries wait it is repeated, with backoff and jitter.
 */
export class LedgerNotifier {
  readonly #outbox: Pick<Outbox, "pendingCount">;
  readonly #send: () => void;
  #repeats = 0;
  /** True from a ring until the entries are fetched: what is added in between is fetched with them. */
  #notified = false;

  constructor(outbox: Pick<Outbox, "pendingCount">, send: () => void) {
    this.#outbox = outbox;
    this.#send = send;
  }

  /** An entry was added. Returns when to look again. */
  notify(now: number): number {
    if (!this.#notified) {
      this.#notified = true;
      this.#send();
    }
    return now + this.#delay();
  }

  /** The consumer is here. */
  acknowledged(): void {
    this.#notified = false;
    this.#repeats = 0;
  }

  /** A duty. */
  readonly repeat = (now: number): number | null => {
    if (this.#outbox.pendingCount() === 0) return null;
    this.#notified = false;
    this.#repeats += 1;
    return this.notify(now);
  };

  #delay(): number {
    const backoff = Math.min(FIRST_REPEAT_MS * 2 ** this.#repeats, MAX_REPEAT_MS);
    return backoff * (1 + Math.random() / 4);
  }
}
