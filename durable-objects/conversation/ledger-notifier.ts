import { backoff } from "../../src/domain/backoff.ts";
import type { Outbox } from "./stores/outbox.ts";

/** The first repeat is later than the object's own alarm after a turn: setting an alarm anew costs a write for each message. */
const REPEAT = { baseMs: 9_000, maxMs: 24_000, jitter: [1, 1.25] } as const;

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
    return now + backoff(this.#repeats, REPEAT, Math.random());
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
}
