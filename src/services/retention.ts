import {
  brandsWithRetention,
  deleteDeadLetters,
  deleteExpiredLocks,
  deleteGuests,
  deleteSessions,
  deleteTombstones,
  expiredSessions,
} from "../db/erasure.ts";
import type { Deps } from "../deps.ts";
import { invalid } from "../domain/errors.ts";
import type { Caller } from "../domain/principal.ts";
import { EVENT } from "../telemetry/events.ts";

const DAY_MS = 86_400_000;
const BATCH = 500;
/** Objects asked at once. */
const OBJECTS = 20;
/** Longer than any read that started before an erasure can be in flight. */
const TOMBSTONE_DAYS = 30;
/** For dead letters of no brand: webhook messages for a number without an instance. */
const UNCLAIMED_DAYS = 90;
/** Limit of one run; the next run continues. */
const ROUND_MS = 20_000;

type RetentionDeps = Pick<Deps, "db" | "now" | "config" | "log" | "conversation">;

/**
 * Deletes a brand's sessions that ended more than `olderThanDays` ago, up to `batchSize` of them, with their rows and what
 * their objects hold of them; returns how many. Refuses (400) less than one day or one session.
 */
export async function cleanExpiredSessions(
  deps: RetentionDeps,
  { brandId, olderThanDays, batchSize }: { brandId: string; olderThanDays: number; batchSize: number },
): Promise<number> {
  const { db, now, config } = deps;
  if (!(olderThanDays >= 1)) throw invalid("older_than_days", "older_than_days must be at least 1");
  if (!(batchSize >= 1)) throw invalid("batch_size", "batch_size must be at least 1");
  const expired = await expiredSessions(db, {
    brandId,
    endedBefore: now() - olderThanDays * DAY_MS,
    limit: Math.floor(batchSize),
    timeoutMinutes: config.sessionTimeoutMinutes,
  });
  const erased: string[] = [];
  for (let start = 0; start < expired.length; start += OBJECTS) {
    const chunk = expired.slice(start, start + OBJECTS);
    const outcomes = await Promise.all(chunk.map((session) => eraseInObject(deps, brandId, session)));
    erased.push(...chunk.filter((_, index) => outcomes[index]).map(({ id }) => id));
  }
  return erased.length === 0 ? 0 : deleteSessions(db, brandId, erased);
}

/**
 * Erases a session in its object, which keeps answers of webhook turns for days. Returns false for a session that has
 * messages Postgres lacks, or when the object can't be reached: the next run tries again.
 */
async function eraseInObject(
  { conversation, log }: RetentionDeps,
  brandId: string,
  { id: sessionId, address }: { id: string; address: string },
): Promise<boolean> {
  const caller: Caller = { kind: "brand", brandId, keyId: "retention", scopes: [] };
  const object = conversation(address);
  try {
    const pending = await object.unsaved({
      sessionId,
      caller,
      select: "counts",
      before: null,
      limit: 1,
      maxBytes: 1_000,
    });
    if (pending.kind === "unsaved" && pending.messages.length > 0) return false;
    await object.erase({ sessionId, caller, session: null });
    return true;
  } catch (error) {
    log.warn(EVENT.retentionFailed, { error, brand_id: brandId, session_id: sessionId });
    return false;
  }
}

/**
 * Deletes what is past its brand's retention period (sessions, dead letters, guests without a session), expired request
 * ids and old tombstones, in batches until nothing is left or the run's time is over. A failure for one brand is logged
 * and does not affect the others.
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
  const before = (days: number): number => now() - days * DAY_MS;
  const locks = await all(() => deleteExpiredLocks(db, now(), BATCH));
  const tombstones = await all(() => deleteTombstones(db, before(TOMBSTONE_DAYS), BATCH));
  const deleted = {
    sessions: 0,
    dead_letters: await all(() => deleteDeadLetters(db, null, before(UNCLAIMED_DAYS), BATCH)),
    guests: 0,
  };
  for (const { brandId, days } of await brandsWithRetention(db)) {
    try {
      deleted.sessions += await all(() =>
        cleanExpiredSessions(deps, { brandId, olderThanDays: days, batchSize: BATCH }),
      );
      deleted.dead_letters += await all(() => deleteDeadLetters(db, brandId, before(days), BATCH));
      deleted.guests += await all(() => deleteGuests(db, brandId, before(days), BATCH));
    } catch (error) {
      log.error(EVENT.retentionFailed, { error, brand_id: brandId });
    }
  }
  log.info(EVENT.retentionApplied, { locks, tombstones, ...deleted });
}
