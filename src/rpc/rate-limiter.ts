/** What an instance's limiter can be asked. */
export type RateLimiter = { lease(wanted: number, perMinute: number): Promise<TokenGrant> };
/** Tokens an isolate got, or how long until there are any. */
export type TokenGrant = { granted: number; retryAfterMs: number };
