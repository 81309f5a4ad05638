/** A token bucket: holds the tokens of one minute and refills evenly. */
export type Bucket = { tokens: number; at: number };

const MINUTE_MS = 60_000;

/** The bucket at `now` (epoch milliseconds); a new one is full. A clock that steps back refills nothing. */
export function refill(bucket: Bucket | null, perMinute: number, now: number): Bucket {
  if (bucket === null) return { tokens: perMinute, at: now };
  const filled = (Math.max(now - bucket.at, 0) * perMinute) / MINUTE_MS;
  return { tokens: Math.min(bucket.tokens + filled, perMinute), at: Math.max(now, bucket.at) };
}

/** Takes up to `wanted` whole tokens. Without any, `retryAfterMs` is the time until there is one. */
export function take(
  bucket: Bucket,
  wanted: number,
  perMinute: number,
): { bucket: Bucket; granted: number; retryAfterMs: number } {
  const granted = Math.min(wanted, Math.floor(bucket.tokens));
  const left = { ...bucket, tokens: bucket.tokens - granted };
  const retryAfterMs = granted > 0 ? 0 : Math.ceil(((1 - bucket.tokens) * MINUTE_MS) / perMinute);
  return { bucket: left, granted, retryAfterMs };
}
