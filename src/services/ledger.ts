import { writeDeadLetter } from "../db/dead-letters.ts";
import { databaseErrorCode, isRefusedForContent, sqlState } from "../db/errors.ts";
import { bytesToWrite, writeEntries } from "../db/ledger.ts";
import { writeNotices } from "../db/notices.ts";
import { withRetry } from "../db/retry.ts";
import type { Deps } from "../deps.ts";
import { idempotencyKey } from "../domain/idempotency.ts";
import { byteLength } from "../domain/json.ts";
import type { KeyedEntry, LedgerEntry, LedgerNotice } from "../domain/ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/** Bytes of one request to Postgres. Neon's HTTP endpoint takes 10 MB. */
const MAX_REQUEST_BYTES = 6_000_000;

/** Safe to repeat: turns are gated by their lock row, dead letters by their id. */
const REPEATABLE = { isRepeatable: true };

/** Conversations of one round that may fail, by timeouts and by any other error. */
const MAX_TIMEOUTS = 2;
const MAX_FAILED = 20;

type LedgerDeps = Pick<Deps, "db" | "log">;

/** One conversation's part of a round. */
export type Part<T> = { address: string; items: readonly T[] };

/** The conversations with an item that could not be written, and the error of each. Their other items may be written. */
export type Failures = ReadonlyMap<string, unknown>;

/**
 * Writes entries in their order, in as few transactions as their size allows. Repeating it changes nothing. An entry that
 * Postgres refuses for its content goes to the dead letters. Throws when Postgres is unavailable.
 */
export const saveEntries = (deps: LedgerDeps, parts: readonly Part<LedgerEntry>[]): Promise<Failures> =>
  saveAll(parts, {
    size: (entry) => bytesToWrite({ ...entry, turn: entry.turn && { ...entry.turn, key: "" } }),
    write: async (entries) => {
      const keyed = await Promise.all(entries.map(withKey));
      const lost = await withRetry(() => writeEntries(deps.db, keyed), REPEATABLE);
      for (const entry of keyed.filter(({ id }) => lost.includes(id))) {
        await deadLetter(deps, entry, entry.turn === null ? "message_id_taken" : "lock_lost");
      }
    },
    refused: (entry, error) => deadLetter(deps, entry, sqlState(error) ?? "refused"),
  });

/**
 * Writes notices; the entries they are about are written before them. A notice that Postgres refuses for its content is
 * logged and dropped. Throws when Postgres is unavailable.
 */
export const saveNotices = (deps: LedgerDeps, parts: readonly Part<LedgerNotice>[]): Promise<Failures> =>
  saveAll(parts, {
    size: (notice) => byteLength(JSON.stringify(JSON.stringify(notice))),
    write: (notices) => withRetry(() => writeNotices(deps.db, notices), REPEATABLE),
    refused: ({ kind }, error) => deps.log.error(EVENT.noticeRefused, { reason: sqlState(error), kind }),
  });

type Job<T> = {
  /** Bytes of the item in a request. */
  size: (item: T) => number;
  write: (items: readonly T[]) => Promise<void>;
  refused: (item: T, error: unknown) => Promise<void> | undefined;
};

type Addressed<T> = { address: string; item: T };

async function saveAll<T>(parts: readonly Part<T>[], job: Job<T>): Promise<Failures> {
  const failures = new Map<string, unknown>();
  const items = parts.flatMap(({ address, items }) => items.map((item) => ({ address, item })));
  for (const portion of portions(items, job.size, failures)) await inHalves(portion, job, failures);
  return failures;
}

/** Divides the items into requests, in order. One that is larger than a request stands alone. */
function portions<T>(
  items: readonly Addressed<T>[],
  sizeOf: Job<T>["size"],
  failures: Map<string, unknown>,
): Addressed<T>[][] {
  const result: Addressed<T>[][] = [];
  let left = 0;
  for (const { address, item } of items) {
    try {
      const size = sizeOf(item);
      if (size > left) {
        result.push([]);
        left = MAX_REQUEST_BYTES;
      }
      left -= size;
      result.at(-1)?.push({ address, item });
    } catch (error) {
      fail(failures, address, error);
    }
  }
  return result;
}

/**
 * Writes all at once. When Postgres refuses an item for its content, or the whole is too large or too slow, writes the two
 * halves, until the item that fails stands alone: it is refused, or its conversation fails and the others go on.
 */
async function inHalves<T>(items: readonly Addressed<T>[], job: Job<T>, failures: Map<string, unknown>): Promise<void> {
  const pending = items.filter(({ address }) => !failures.has(address));
  const [first] = pending;
  if (first === undefined) return;
  try {
    await job.write(pending.map(({ item }) => item));
  } catch (error) {
    if (databaseErrorCode(error) === "DATABASE_CONNECTION_ERROR") throw error;
    if (pending.length > 1) {
      const middle = Math.ceil(pending.length / 2);
      await inHalves(pending.slice(0, middle), job, failures);
      return inHalves(pending.slice(middle), job, failures);
    }
    if (!isRefusedForContent(error)) return fail(failures, first.address, error);
    try {
      await job.refused(first.item, error);
    } catch (failure) {
      if (databaseErrorCode(failure) === "DATABASE_CONNECTION_ERROR") throw failure;
      fail(failures, first.address, failure);
    }
  }
}

/** Throws once so many conversations failed that Postgres must be at fault, not what they hold. */
function fail(failures: Map<string, unknown>, address: string, error: unknown): void {
  failures.set(address, error);
  const isSlow = databaseErrorCode(error) === "TIMEOUT_ERROR";
  if (failures.size >= (isSlow ? MAX_TIMEOUTS : MAX_FAILED)) throw error;
}

async function deadLetter({ db, log }: LedgerDeps, entry: LedgerEntry, reason: string): Promise<void> {
  await withRetry(() => writeDeadLetter(db, entry, reason), REPEATABLE);
  log.error(EVENT.messageSaveFailed, {
    reason,
    entry_id: entry.id,
    session_id: entry.session.id,
    request_id: entry.turn?.requestId,
  });
}

async function withKey(entry: LedgerEntry): Promise<KeyedEntry> {
  const { turn } = entry;
  return { ...entry, turn: turn && { ...turn, key: await idempotencyKey(turn.scope, turn.requestId) } };
}
