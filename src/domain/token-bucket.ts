/** A token bucket: what a rate leaves to be spent. It holds a minute's worth and fills evenly. */
export type Bucket = { tokens: number; at: number };

const MINUTE_MS = 60_000;

/** The bucket at `now` (epoch milliseconds), full when it is new. A clock that steps back fills nothing. */
export function refill(bucket: Bucket | null, perMinute: number, now: number): Bucket {
  if (bucket === null) return { tokens: perMinute, at: now };
  const filled = (Math.max(now - bucket.at, 0) * perMinute) / MINUTE_MS;
  return { tokens: Math.min(bucket.tokens + filled, perMinute), at: Math.max(now, bucket.at) };
}

/** Takes up to `wanted` whole tokens. With none to be had, tells how many milliseconds it takes until there is one. */
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
