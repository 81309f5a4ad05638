import type { Statement, StatementResult, TransactionMode, Work } from "./backend.ts";
import { DatabaseFailure } from "./errors.ts";

/** Neon's limit of a response. Checked before a batch commits, so that a refused response has changed nothing. */
const RESPONSE_LIMIT_BYTES = 10_000_000;

/** One Postgres connection over any transport. */
export type Connection = {
  execute(statement: Statement): Promise<StatementResult>;
};

/** Runs one request on an idle connection that no other request uses meanwhile. */
export async function runWork(connection: Connection, work: Work, signal?: AbortSignal): Promise<StatementResult[]> {
  if ("statement" in work) {
    const result = await connection.execute(work.statement);
    checkSize(sizeOf(result));
    return [result];
  }

  await connection.execute(plain(beginStatement(work.transaction)));
  try {
    const results: StatementResult[] = [];
    let size = 0;
    for (const statement of work.statements) {
      signal?.throwIfAborted();
      const result = await connection.execute(statement);
      size += sizeOf(result);
      checkSize(size);
      results.push(result);
    }
    await connection.execute(plain("COMMIT"));
    return results;
  } catch (error) {
    // A rollback fails only on a lost connection, which ends the transaction too: report the first error.
    await connection.execute(plain("ROLLBACK")).catch(() => undefined);
    throw error;
  }
}

/** Parses a command tag as Neon does: the first word, and the row count where the command has one. */
export function parseCommandTag(tag: string): Pick<StatementResult, "command" | "rowCount"> {
  const [command = "", ...rest] = tag.split(" ");
  // INSERT reports an OID before the count.
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

function beginStatement(mode: TransactionMode): string {
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

function checkSize(size: number): void {
  if (size <= RESPONSE_LIMIT_BYTES) return;
  throw new DatabaseFailure(`response is too large (max is ${RESPONSE_LIMIT_BYTES} bytes)`, {}, 507);
}
