import { writeDeadLetter } from "../db/dead-letters.ts";
import { databaseErrorCode, isRefusedForContent, sqlState } from "../db/errors.ts";
import { writeEntries } from "../db/ledger.ts";
import { writeNotices } from "../db/notices.ts";
import { withRetry } from "../db/retry.ts";
import type { Deps } from "../deps.ts";
import { idempotencyKey } from "../domain/idempotency.ts";
import type { LedgerEntry, LedgerNotice, LedgerPull, KeyedEntry } from "../domain/ledger.ts";
import { byteLength } from "../domain/json.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * What one batch may carry, in bytes of its entries as JSON: at worst a request is twice that (JSON inside JSON), and an
 * HTTP database takes 10 MB at once.
 */
const MAX_BATCH_BYTES = 4_000_000;
/** A conversation that is still not empty after this many pulls rings again. */
const MAX_ROUNDS = 20;

/** A turn's rows are won by the turn and a letter has its entry's id: a second time changes nothing. */
const REPEATABLE = { isRepeatable: true };

type LedgerDeps = Pick<Deps, "db" | "log" | "conversation" | "now">;
type Pulled = LedgerPull & { address: string };

/**
 * The conversations that rang give what Postgres does not know; it is written in one transaction, and only then they may
 * forget it. What fails here is not lost and not marked: the conversations ring again.
 */
export async function writeLedger(deps: LedgerDeps, addresses: readonly string[]): Promise<void> {
  let waiting = [...new Set(addresses)];
  for (let round = 0; round < MAX_ROUNDS && waiting.length > 0; round += 1) {
    const pulled = await pullAll(deps, waiting);
    const entries = pulled.flatMap((pull) => pull.entries);
    const notices = pulled.flatMap((pull) => pull.notices);
    if (pulled.length > 0) {
      const startedAt = deps.now();
      for (const portion of portions(await Promise.all(entries.map(withKey)))) await write(deps, portion);
      await notify(deps, notices);
      deps.log.info(EVENT.ledgerWritten, {
        conversations: pulled.length,
        entries: entries.length,
        notices: notices.length,
        duration_ms: deps.now() - startedAt,
      });
    }
    waiting = await confirmAll(deps, pulled);
  }
}

async function pullAll({ conversation, log }: LedgerDeps, addresses: readonly string[]): Promise<Pulled[]> {
  const share = Math.floor(MAX_BATCH_BYTES / addresses.length);
  const pulls = await Promise.all(
    addresses.map(async (address) => {
      try {
        const { entries, notices, upTo, more } = await conversation(address).pull(share);
        return [{ address, entries, notices, upTo, more }];
      } catch (error) {
        log.warn(EVENT.ledgerPullFailed, { error, address });
        return [];
      }
    }),
  );
  return pulls.flat().filter(({ entries, notices }) => entries.length + notices.length > 0);
}

/** Those that have more. */
async function confirmAll({ conversation, log }: LedgerDeps, pulled: readonly Pulled[]): Promise<string[]> {
  const confirmed = await Promise.all(
    pulled.map(async ({ address, upTo }) => {
      try {
        const { waiting } = await conversation(address).confirm(upTo);
        return waiting > 0 ? [address] : [];
      } catch (error) {
        // It keeps what was written and brings it again; the same rows change nothing.
        log.warn(EVENT.ledgerConfirmFailed, { error, address });
        return [];
      }
    }),
  );
  return confirmed.flat();
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

/** After the entries they are about. One that Postgres refuses for its content is told in the log, and is gone. */
const notify = (deps: LedgerDeps, notices: readonly LedgerNotice[]): Promise<void> =>
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
