import { DurableObject } from "cloudflare:workers";
import { refill, take } from "../src/domain/token-bucket.ts";
import type { Bucket } from "../src/domain/token-bucket.ts";
import type { TokenGrant, RateLimiter as LimiterPort } from "../src/rpc/rate-limiter.ts";

/** A bucket that no caller took from for this long is full again and needs no storage. */
const IDLE_MS = 120_000;

/**
 * The token bucket of one rate limit. It is stored, because an object leaves memory after some seconds without a call,
 * long before the bucket is full again; the alarm deletes it once it is.
 */
export class RateLimiter extends DurableObject<Env> implements LimiterPort {
  async lease(wanted: number, perMinute: number): Promise<TokenGrant> {
    const { storage } = this.ctx;
    const stored = storage.kv.get<Bucket>("bucket") ?? null;
    const { bucket, granted, retryAfterMs } = take(refill(stored, perMinute, Date.now()), wanted, perMinute);
    storage.kv.put("bucket", bucket);
    if (stored === null) await storage.setAlarm(Date.now() + IDLE_MS);
    return { granted, retryAfterMs };
  }

  override async alarm(): Promise<void> {
    const { storage } = this.ctx;
    const idleAt = (storage.kv.get<Bucket>("bucket")?.at ?? 0) + IDLE_MS;
    if (idleAt > Date.now()) return storage.setAlarm(idleAt);
    await storage.deleteAll();
  }
}
