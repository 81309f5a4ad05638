import type { RateLimiter } from "../rpc/rate-limiter.ts";

/** Permission for one new message. With `exhausted` only duplicates are answered, which never count. */
export type Permit = { kind: "allowed"; giveBack: () => void } | { kind: "exhausted"; retryAfterMs: number };

/**
 * An isolate leases this fraction of a minute's rate at once: a busy instance calls its rate limiter once per hundred
 * messages, and a small rate is counted exactly.
 */
const PART = 100;

/** Rate limits of instances in one isolate: tokens leased and not spent. */
export class RateLimits {
  readonly #tokens = new Map<string, number>();
  readonly #limiter: (instanceId: string) => RateLimiter;

  constructor(limiter: (instanceId: string) => RateLimiter) {
    this.#limiter = limiter;
  }

  /** Takes the token of one message; `perMinute` 0 is no limit. The token of a duplicate is returned afterwards. */
  async take(instanceId: string, perMinute: number): Promise<Permit> {
    if (perMinute === 0) return { kind: "allowed", giveBack: () => undefined };
    if ((this.#tokens.get(instanceId) ?? 0) < 1) {
      const { granted, retryAfterMs } = await this.#limiter(instanceId).lease(Math.ceil(perMinute / PART), perMinute);
      if (granted === 0) return { kind: "exhausted", retryAfterMs };
      this.#add(instanceId, granted);
    }
    this.#add(instanceId, -1);
    return { kind: "allowed", giveBack: () => this.#add(instanceId, 1) };
  }

  #add(instanceId: string, tokens: number): void {
    this.#tokens.set(instanceId, (this.#tokens.get(instanceId) ?? 0) + tokens);
  }
}
