import { DurableObject } from "cloudflare:workers";
import { refill, take } from "../src/domain/token-bucket.ts";
import type { Bucket } from "../src/domain/token-bucket.ts";
import type { TokenGrant, RateLimiter as LimiterPort } from "../src/rpc/rate-limiter.ts";

/**
 * What one instance may still take in this minute. In memory: an object that is evicted has been idle, and a bucket that
 * nobody took from is full.
 */
export class RateLimiter extends DurableObject<Env> implements LimiterPort {
  #bucket: Bucket | null = null;

  async lease(wanted: number, perMinute: number): Promise<TokenGrant> {
    const { bucket, granted, retryAfterMs } = take(refill(this.#bucket, perMinute, Date.now()), wanted, perMinute);
    this.#bucket = bucket;
    return { granted, retryAfterMs };
  }
}
