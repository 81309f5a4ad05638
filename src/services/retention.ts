import { brandsWithRetention, deleteExpiredLocks, deleteExpiredSessions, deleteTombstones } from "../db/erasure.ts";
import type { Deps } from "../deps.ts";
import { invalid } from "../domain/errors.ts";
import { EVENT } from "../telemetry/events.ts";

const DAY_MS = 86_400_000;
const BATCH = 500;
/** Longer than any read that started before an erasure can be in flight. */
const TOMBSTONE_DAYS = 30;
/** Limit of one run; the next run continues. */
const ROUND_MS = 20_000;

type RetentionDeps = Pick<Deps, "db" | "now" | "config" | "log">;

/**
 * Deletes a brand's sessions that ended more than `olderThanDays` ago, up to `batchSize` of them, with everything said in
 * them; how many there were. Refuses (400) less than one day or one session.
 */
export async function cleanExpiredSessions(
  { db, now, config }: RetentionDeps,
  { brandId, olderThanDays, batchSize }: { brandId: string; olderThanDays: number; batchSize: number },
): Promise<number> {
  if (!(olderThanDays >= 1)) throw invalid("older_than_days", "older_than_days must be at least 1");
  if (!(batchSize >= 1)) throw invalid("batch_size", "batch_size must be at least 1");
  return deleteExpiredSessions(db, {
    brandId,
    endedBefore: now() - olderThanDays * DAY_MS,
    limit: Math.floor(batchSize),
    timeoutMinutes: config.sessionTimeoutMinutes,
  });
}

/**
 * Deletes sessions past their brand's retention period, expired request ids and old tombstones, in batches until nothing
 * is left or the run's time is over.
 */
export async function applyRetention(deps: RetentionDeps): Promise<void> {
  const { db, now, log } = deps;
  const until = now() + ROUND_MS;
  const all = async (batch: () => Promise<number>): Promise<number> => {
    for (let total = 0; ;) {
      const count = await batch();
      total += count;
      if (count < BATCH || now() >= until) return total;
    }
  };
  const locks = await all(() => deleteExpiredLocks(db, now(), BATCH));
  const tombstones = await all(() => deleteTombstones(db, now() - TOMBSTONE_DAYS * DAY_MS, BATCH));
  let sessions = 0;
  for (const { brandId, days } of await brandsWithRetention(db)) {
    sessions += await all(() => cleanExpiredSessions(deps, { brandId, olderThanDays: days, batchSize: BATCH }));
  }
  log.info(EVENT.retentionApplied, { locks, tombstones, sessions });
}
