import type { Deps } from "../deps.ts";
import { rateLimited } from "../domain/errors.ts";
import type { Caller } from "../domain/principal.ts";

/** A user's reads per message they may write: a client reads more often than its user writes. */
const READS_PER_WRITE = 10;

/**
 * Counts a caller's requests that are no turns: started conversations, transcript messages, reads. A user has the rate
 * limit of their messages, a brand's server that of an instance. Refuses (429) requests over it.
 */
export async function limitCaller(
  { caches, config }: Pick<Deps, "caches" | "config">,
  caller: Caller,
  kind: "read" | "write",
  count = 1,
): Promise<void> {
  const isUser = caller.kind === "user";
  const perMinute = isUser ? config.rateLimitUserPerMinute : config.rateLimitInstancePerMinute;
  const key = `${kind}:${isUser ? `user:${caller.userId}` : `brand:${caller.brandId}`}`;
  const permit = await caches.rateLimits.take(key, kind === "read" ? perMinute * READS_PER_WRITE : perMinute, count);
  if (permit.kind === "exhausted") throw rateLimited(caller.kind, permit.retryAfterMs);
}
