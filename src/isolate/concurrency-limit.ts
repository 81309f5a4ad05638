import { AppError } from "../domain/errors.ts";

/** More than this would still be waiting for Postgres when its deadline is over, and all of them in vain. */
const MAX_CONCURRENT = 64;
const RETRY_AFTER_MS = 1_000;
/** Longer than Postgres is waited for. Whoever is cut off by then, by their client or the platform, never says that they leave. */
const MAX_HELD_MS = 20_000;

/** Whether somebody was turned away, and nobody asked about them. */
export const isShed = (error: unknown): boolean => error instanceof AppError && error.code === "RATE_LIMITED";

/**
 * Where people wait whom an isolate has to ask Postgres about. When a crowd of strangers comes at once, those who don't fit
 * are asked to come again, and the others are answered in time. Whoever is known goes on with what is known of them.
 */
export class ConcurrencyLimit {
  readonly #now: () => number;
  readonly #max: number;
  /** Each one's stay, the longest first. */
  readonly #slots = new Set<{ since: number }>();

  constructor(now: () => number, most = MAX_CONCURRENT) {
    this.#now = now;
    this.#max = most;
  }

  /** Does the work unless too many are at theirs (429). */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#slots.size >= this.#max) this.#clear();
    if (this.#slots.size >= this.#max) {
      throw new AppError("RATE_LIMITED", "Too many requests", {
        details: { scope: "service", retry_after_ms: RETRY_AFTER_MS },
      });
    }
    const stay = { since: this.#now() };
    this.#slots.add(stay);
    try {
      return await work();
    } finally {
      this.#slots.delete(stay);
    }
  }

  /** Gives back the places of those who are not there any more. */
  #clear(): void {
    for (const stay of this.#slots) {
      if (this.#now() - stay.since < MAX_HELD_MS) return;
      this.#slots.delete(stay);
    }
  }
}
