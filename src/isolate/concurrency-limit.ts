import { AppError, rateLimited } from "../domain/errors.ts";

/** With more lookups at once all of them would exceed the deadline of Postgres. */
const MAX_CONCURRENT = 64;
const RETRY_AFTER_MS = 1_000;
/** Longer than the deadline of Postgres. A request cancelled by its client or the platform never releases its slot. */
const MAX_HELD_MS = 20_000;

/** Whether the lookup was shed, so that Postgres was not asked. */
export const isShed = (error: unknown): boolean => error instanceof AppError && error.code === "RATE_LIMITED";

/**
 * Limits concurrent lookups of an isolate that any client can cause. Excess requests get 429 (load shedding), so that the others finish in
 * time; cached users are not affected.
 */
export class ConcurrencyLimit {
  readonly #now: () => number;
  readonly #max: number;
  /** Slots in use, oldest first. */
  readonly #slots = new Set<{ since: number }>();

  constructor(now: () => number, most = MAX_CONCURRENT) {
    this.#now = now;
    this.#max = most;
  }

  /** Runs the work, or refuses it (429) when every slot is in use. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#slots.size >= this.#max) this.#clear();
    if (this.#slots.size >= this.#max) {
      throw rateLimited("service", RETRY_AFTER_MS);
    }
    const stay = { since: this.#now() };
    this.#slots.add(stay);
    try {
      return await work();
    } finally {
      this.#slots.delete(stay);
    }
  }

  /** Releases slots of cancelled requests. */
  #clear(): void {
    for (const stay of this.#slots) {
      if (this.#now() - stay.since < MAX_HELD_MS) return;
      this.#slots.delete(stay);
    }
  }
}
