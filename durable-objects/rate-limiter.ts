import { DurableObject } from "cloudflare:workers";
import { refill, take } from "../src/domain/token-bucket.ts";
import type { Bucket } from "../src/domain/token-bucket.ts";
import type { TokenGrant, RateLimiter as LimiterPort } from "../src/rpc/rate-limiter.ts";

/**
 * The rate limiter of one instance. Kept in memory: an evicted object was idle, and an unused bucket is full.
 */
export class RateLimiter extends DurableObject<Env> implements LimiterPort {
  #bucket: Bucket | null = null;

  async lease(wanted: number, perMinute: number): Promise<TokenGrant> {
    const { bucket, granted, retryAfterMs } = take(refill(this.#bucket, perMinute, Date.now()), wanted, perMinute);
    this.#bucket = bucket;
    return { granted, retryAfterMs };
  }
}
