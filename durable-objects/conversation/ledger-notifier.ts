import { backoff } from "../../src/domain/backoff.ts";
import type { Outbox } from "./stores/outbox.ts";

/** Later than the turn's own alarm: an earlier time would cost one more write per message. */
const REPEAT = { baseMs: 9_000, maxMs: 24_000, jitter: [1, 1.25] } as const;

/**
 * Sends the conversation's address to the ledger queue when entries wait. The message may be lost, duplicated or late, so it
 * is repeated with backoff and jitter until the entries are confirmed.
 */
export class LedgerNotifier {
  readonly #outbox: Pick<Outbox, "pendingCount">;
  readonly #send: () => void;
  #repeats = 0;
  /** True from a notification until the entries are pulled: entries added meanwhile are pulled with them. */
  #notified = false;

  constructor(outbox: Pick<Outbox, "pendingCount">, send: () => void) {
    this.#outbox = outbox;
    this.#send = send;
  }

  /** Call after adding an entry. Returns the time of the first repeat. */
  notify(now: number): number {
    if (!this.#notified) {
      this.#notified = true;
      this.#send();
    }
    return now + backoff(this.#repeats, REPEAT, Math.random());
  }

  /** The consumer has pulled. */
  acknowledged(): void {
    this.#notified = false;
    this.#repeats = 0;
  }

  /** Alarm task. */
  readonly repeat = (now: number): number | null => {
    if (this.#outbox.pendingCount() === 0) return null;
    this.#notified = false;
    this.#repeats += 1;
    return this.notify(now);
  };
}
