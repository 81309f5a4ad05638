import { backoff, jittered } from "../../src/domain/backoff.ts";
import type { PendingEntries } from "../../src/domain/ledger.ts";
import type { Outbox } from "./stores/outbox.ts";

/**
 * How long an entry is pending before it is looked up: the ledger has written it by then, and a next message has mostly
 * brought word of it. One alarm for a burst of messages.
 */
const LOOK_UP_AFTER_MS = 15_000;
const JITTER = [1, 4 / 3] as const;
const REPEAT = { baseMs: 9_000, maxMs: 24_000, jitter: [1, 1.25] } as const;

type Options = {
  outbox: Pick<Outbox, "oldestPendingAt" | "pendingEntries">;
  address: string;
  /** Asks the ledger to pull this conversation's entries. */
  announce: () => void;
  /** Asks the ledger which entries are in Postgres; it pulls those that are not. */
  lookUp: (pending: PendingEntries) => void;
};

/**
 * Brings entries to the ledger. Entries that travel with their answer are looked up later; the others are announced at
 * once. Either message may be lost, doubled or late: it is repeated with backoff while entries are pending.
 */
export class LedgerNotifier {
  readonly #options: Options;
  #repeats = 0;
  /** True from an announcement until the entries are pulled: an entry added in between is pulled with them. */
  #announced = false;

  constructor(options: Options) {
    this.#options = options;
  }

  /** An entry was added that no caller carries. Returns when the alarm has to look again. */
  notify(now: number): number {
    if (!this.#announced) {
      this.#announced = true;
      this.#options.announce();
    }
    return now + backoff(this.#repeats, REPEAT, Math.random());
  }

  /** An entry was handed to a caller. Returns when the alarm has to look again. */
  carried(now: number): number {
    return now + jittered(LOOK_UP_AFTER_MS, JITTER, Math.random());
  }

  /** The ledger is pulling the entries. */
  acknowledged(): void {
    this.#announced = false;
    this.#repeats = 0;
  }

  /** An alarm task: looks up entries that have been pending for too long. */
  readonly repeat = (now: number): number | null => {
    const { outbox, address, lookUp } = this.#options;
    const oldest = outbox.oldestPendingAt();
    if (oldest === null) {
      this.#repeats = 0;
      return null;
    }
    if (!this.#announced && now - oldest < LOOK_UP_AFTER_MS) return this.carried(oldest);
    const pending = outbox.pendingEntries(address);
    this.#announced = false;
    if (pending !== null) lookUp(pending);
    const next = now + backoff(this.#repeats, REPEAT, Math.random());
    this.#repeats += 1;
    return next;
  };
}
