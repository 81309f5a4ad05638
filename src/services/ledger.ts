import { writeDeadLetter } from "../db/dead-letters.ts";
import { databaseErrorCode, isRefusedForContent, sqlState } from "../db/errors.ts";
import { writeEntries } from "../db/ledger.ts";
import { writeNotices } from "../db/notices.ts";
import { withRetry } from "../db/retry.ts";
import type { Deps } from "../deps.ts";
import { idempotencyKey } from "../domain/idempotency.ts";
import { byteLength } from "../domain/json.ts";
import type { KeyedEntry, LedgerEntry, LedgerNotice } from "../domain/ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * Bytes of one batch's entries as JSON. A request is at worst twice as large (JSON inside JSON), and Neon's limit of a
 * request is 10 MB.
 */
export const MAX_BATCH_BYTES = 4_000_000;

/** Safe to repeat: turns are gated by their lock row, dead letters by their id. */
const REPEATABLE = { isRepeatable: true };

type LedgerDeps = Pick<Deps, "db" | "log">;

/** Writes entries in order, in as few transactions as their size allows. Idempotent. */
export async function saveEntries(deps: LedgerDeps, entries: readonly LedgerEntry[]): Promise<void> {
  for (const portion of portions(await Promise.all(entries.map(withKey)))) await write(deps, portion);
}

/** Splits entries into batches in order. A single entry may exceed the limit. */
function portions(entries: readonly KeyedEntry[]): KeyedEntry[][] {
  const result: KeyedEntry[][] = [];
  let left = 0;
  for (const entry of entries) {
    const size = byteLength(JSON.stringify(entry));
    if (size > left) {
      result.push([]);
      left = MAX_BATCH_BYTES;
    }
    left -= size;
    result.at(-1)?.push(entry);
  }
  return result;
}

/** Writes one transaction. An entry that Postgres refuses for its content becomes a dead letter. */
const write = (deps: LedgerDeps, entries: readonly KeyedEntry[]): Promise<void> =>
  inHalves(entries, {
    write: async (some) => {
      const lost = await withRetry(() => writeEntries(deps.db, some), REPEATABLE);
      for (const entry of some.filter(({ id }) => lost.includes(id))) {
        await deadLetter(deps, entry, entry.turn === null ? "message_id_taken" : "lock_lost");
      }
    },
    refused: (entry, error) => deadLetter(deps, entry, sqlState(error) ?? "refused"),
  });

/**
 * Writes notices after the entries they refer to. A notice that Postgres refuses for its content is logged and dropped.
 */
export const saveNotices = (deps: LedgerDeps, notices: readonly LedgerNotice[]): Promise<void> =>
  inHalves(notices, {
    write: (some) => withRetry(() => writeNotices(deps.db, some), REPEATABLE),
    refused: ({ kind }, error) => deps.log.error(EVENT.noticeRefused, { reason: sqlState(error), kind }),
  });

type Halves<T> = {
  write: (items: readonly T[]) => Promise<void>;
  refused: (item: T, error: unknown) => Promise<void> | undefined;
};

/**
 * All at once; if Postgres refuses something for its content, halves, until the one that is refused stands alone. Also if
 * it is more than can be done within the deadline: what is too much even alone is kept where it is, and told by throwing.
 */
async function inHalves<T>(items: readonly T[], { write, refused }: Halves<T>): Promise<void> {
  try {
    await write(items);
  } catch (error) {
    const isRefused = isRefusedForContent(error);
    if (!isRefused && databaseErrorCode(error) !== "TIMEOUT_ERROR") throw error;
    const [only] = items;
    if (items.length === 1 && only) {
      if (!isRefused) throw error;
      return refused(only, error);
    }
    const middle = Math.ceil(items.length / 2);
    await inHalves(items.slice(0, middle), { write, refused });
    await inHalves(items.slice(middle), { write, refused });
  }
}

async function deadLetter({ db, log }: LedgerDeps, entry: KeyedEntry, reason: string): Promise<void> {
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
