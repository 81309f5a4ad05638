import type { Statement, StatementResult, TransactionMode, Work } from "./backend.ts";
import { DatabaseFailure } from "./errors.ts";

/** Neon's bound on an answer. Checked before a batch commits, so that an answer nobody can get changes nothing. */
const RESPONSE_LIMIT_BYTES = 10_000_000;

/** One Postgres connection, whatever carries it. */
export interface Session {
  execute(statement: Statement): Promise<StatementResult>;
}

/** Runs one request on a connection that is idle and nobody else's. */
export async function perform(session: Session, work: Work, signal?: AbortSignal): Promise<StatementResult[]> {
  if ("statement" in work) {
    const result = await session.execute(work.statement);
    refuseTooLarge(sizeOf(result));
    return [result];
  }

  await session.execute(plain(beginning(work.transaction)));
  try {
    const results: StatementResult[] = [];
    let size = 0;
    for (const statement of work.statements) {
      signal?.throwIfAborted();
      const result = await session.execute(statement);
      size += sizeOf(result);
      refuseTooLarge(size);
      results.push(result);
    }
    await session.execute(plain("COMMIT"));
    return results;
  } catch (error) {
    // A rollback that fails means a connection that is lost, and with it the transaction: the first error is the one to tell.
    await session.execute(plain("ROLLBACK")).catch(() => undefined);
    throw error;
  }
}

/** A command tag as Neon takes it apart: the first word, and the last number where the command counts rows. */
export function parseCommandTag(tag: string): Pick<StatementResult, "command" | "rowCount"> {
  const [command = "", ...rest] = tag.split(" ");
  // INSERT gives an OID first, then the count.
  const count = command === "INSERT" ? rest[1] : rest[0];
  return { command, rowCount: count !== undefined && /^\d+$/.test(count) ? Number(count) : null };
}

const plain = (query: string): Statement => ({ query, params: [] });

const ISOLATION = {
  ReadUncommitted: "READ UNCOMMITTED",
  ReadCommitted: "READ COMMITTED",
  RepeatableRead: "REPEATABLE READ",
  Serializable: "SERIALIZABLE",
} as const;

function beginning(mode: TransactionMode): string {
  return [
    "BEGIN",
    mode.isolationLevel && `ISOLATION LEVEL ${ISOLATION[mode.isolationLevel]}`,
    mode.readOnly && "READ ONLY",
    mode.deferrable && "DEFERRABLE",
  ]
    .filter(Boolean)
    .join(" ");
}

function sizeOf(result: StatementResult): number {
  let size = 0;
  for (const row of result.rows) for (const value of row) size += value === null ? 5 : Buffer.byteLength(value) + 3;
  return size;
}

function refuseTooLarge(size: number): void {
  if (size <= RESPONSE_LIMIT_BYTES) return;
  throw new DatabaseFailure(`response is too large (max is ${RESPONSE_LIMIT_BYTES} bytes)`, {}, 507);
}
