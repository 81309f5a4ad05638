import type { RateLimiter } from "../rpc/rate-limiter.ts";

/** Permission for one request. With `exhausted` only duplicates are answered, which never count. */
export type Permit = { kind: "allowed"; release: () => void } | { kind: "exhausted"; retryAfterMs: number };

/**
 * An isolate leases this fraction of a minute's rate at once: a busy instance calls its rate limiter once per hundred
 * messages, and a small rate is counted exactly.
 */
const PART = 100;
const MINUTE_MS = 60_000;

/** Rate limits in one isolate, by key: tokens leased and not spent. */
export class RateLimits {
  readonly #tokens = new Map<string, number>();
  readonly #limiter: (key: string) => RateLimiter;

  constructor(limiter: (key: string) => RateLimiter) {
    this.#limiter = limiter;
  }

  /**
   * Takes tokens, by default that of one message; `perMinute` 0 is no limit. More than a minute's rate counts as a
   * minute's rate. The tokens of a duplicate are returned afterwards.
   */
  async take(key: string, perMinute: number, count = 1): Promise<Permit> {
    if (perMinute === 0) return { kind: "allowed", release: () => undefined };
    const needed = Math.min(count, perMinute);
    const missing = needed - (this.#tokens.get(key) ?? 0);
    if (missing > 0) {
      const wanted = Math.max(Math.ceil(perMinute / PART), missing);
      const { granted, retryAfterMs } = await this.#limiter(key).lease(wanted, perMinute);
      this.#add(key, granted);
      // Other requests may have spent or returned tokens meanwhile.
      const lacking = needed - (this.#tokens.get(key) ?? 0);
      if (lacking > 0) {
        const others = granted > 0 ? lacking : lacking - 1;
        return { kind: "exhausted", retryAfterMs: retryAfterMs + Math.ceil((others * MINUTE_MS) / perMinute) };
      }
    }
    this.#add(key, -needed);
    return { kind: "allowed", release: () => this.#add(key, needed) };
  }

  #add(key: string, tokens: number): void {
    const left = (this.#tokens.get(key) ?? 0) + tokens;
    if (left === 0) this.#tokens.delete(key);
    else this.#tokens.set(key, left);
  }
}
