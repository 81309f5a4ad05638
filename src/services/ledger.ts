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
 * What one batch may carry, in bytes of its entries as JSON: at worst a request is twice that (JSON inside JSON), and an
 * HTTP database takes 10 MB at once.
 */
export const MAX_BATCH_BYTES = 4_000_000;

/** A turn's rows are won by the turn and a dead letter has its entry's id: writing either twice changes nothing. */
const REPEATABLE = { isRepeatable: true };

type LedgerDeps = Pick<Deps, "db" | "log">;

/** Writes entries in their order, in as few transactions as their size allows. Repeating it changes nothing. */
export async function saveEntries(deps: LedgerDeps, entries: readonly LedgerEntry[]): Promise<void> {
  for (const portion of portions(await Promise.all(entries.map(withKey)))) await write(deps, portion);
}

/** In their order, in as few batches as may be: a conversation gives its first entry whatever its size. */
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

/** One transaction. An entry that Postgres refuses for its content goes alone to the dead letters. */
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
 * Writes notices; the entries they are about are written before them. A notice that Postgres refuses for its content is
 * logged and dropped.
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
