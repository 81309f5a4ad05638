import type { RateLimiter } from "../rpc/rate-limiter.ts";

/** A message that may be taken; or one that may not, unless it is a duplicate: those never count. */
export type Permit = { kind: "allowed"; giveBack: () => void } | { kind: "exhausted"; retryAfterMs: number };

/**
 * An isolate fetches this part of a minute's rate at once: a busy instance asks its limiter for every hundredth message, and
 * one with a small rate is counted exactly.
 */
const PART = 100;

/** The rates of instances, as one isolate sees them: tokens it has fetched and not spent. */
export class RateLimits {
  readonly #tokens = new Map<string, number>();
  readonly #limiter: (instanceId: string) => RateLimiter;

  constructor(limiter: (instanceId: string) => RateLimiter) {
    this.#limiter = limiter;
  }

  /** Takes one message's worth; `perMinute` 0 is no limit. What turns out to be no new message is given back. */
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
