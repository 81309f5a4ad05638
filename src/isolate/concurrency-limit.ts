import { AppError } from "../domain/errors.ts";

/** More than this would still be waiting for Postgres when its deadline is over, and all of them in vain. */
const MOST_INSIDE = 64;
const RETRY_AFTER_MS = 1_000;
/** Longer than Postgres is waited for. Whoever is cut off by then, by their client or the platform, never says that they leave. */
const LONGEST_STAY_MS = 20_000;

/** Whether somebody was turned away, and nobody asked about them. */
export const isTurnedAway = (error: unknown): boolean => error instanceof AppError && error.code === "RATE_LIMITED";

/**
 * Where people wait whom an isolate has to ask Postgres about. When a crowd of strangers comes at once, those who don't fit
 * are asked to come again, and the others are answered in time. Whoever is known goes on with what is known of them.
 */
export class Entrance {
  readonly #now: () => number;
  readonly #most: number;
  /** Each one's stay, the longest first. */
  readonly #inside = new Set<{ since: number }>();

  constructor(now: () => number, most = MOST_INSIDE) {
    this.#now = now;
    this.#most = most;
  }

  /** Does the work unless too many are at theirs (429). */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside.size >= this.#most) this.#clear();
    if (this.#inside.size >= this.#most) {
      throw new AppError("RATE_LIMITED", "Too many requests", {
        details: { scope: "service", retry_after_ms: RETRY_AFTER_MS },
      });
    }
    const stay = { since: this.#now() };
    this.#inside.add(stay);
    try {
      return await work();
    } finally {
      this.#inside.delete(stay);
    }
  }

  /** Gives back the places of those who are not there any more. */
  #clear(): void {
    for (const stay of this.#inside) {
      if (this.#now() - stay.since < LONGEST_STAY_MS) return;
      this.#inside.delete(stay);
    }
  }
}
