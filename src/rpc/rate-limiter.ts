/** The rate limiter of one instance. */
export type RateLimiter = { lease(wanted: number, perMinute: number): Promise<TokenGrant> };
/** Tokens granted to an isolate, or the time until one is available. */
export type TokenGrant = { granted: number; retryAfterMs: number };
