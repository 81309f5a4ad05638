import { AppError } from "../domain/errors.ts";

/** More than this would still be waiting for Postgres when its deadline is over, and all of them in vain. */
const MOST_INSIDE = 64;
const RETRY_AFTER_MS = 1_000;

/**
 * Where people wait whom an isolate has to ask Postgres about. When a crowd of strangers comes at once, those who don't fit
 * are asked to come again, and the others are answered in time. Whoever is known doesn't come this way.
 */
export class Entrance {
  readonly #most: number;
  #inside = 0;

  constructor(most = MOST_INSIDE) {
    this.#most = most;
  }

  /** Does the work unless too many are at theirs (429). */
  async pass<T>(work: () => Promise<T>): Promise<T> {
    if (this.#inside >= this.#most) {
      throw new AppError("RATE_LIMITED", "Too many requests", {
        details: { scope: "service", retry_after_ms: RETRY_AFTER_MS },
      });
    }
    this.#inside += 1;
    try {
      return await work();
    } finally {
      this.#inside -= 1;
    }
  }
}
