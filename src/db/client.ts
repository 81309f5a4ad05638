import { neon, neonConfig } from "@neondatabase/serverless";
import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-http";
import type { NeonHttpDatabase } from "drizzle-orm/neon-http";

/**
 * Postgres over HTTP: one statement or one batch is one request and one transaction. Interactive transactions do not
 * exist here, so they do not exist in the type.
 */
export type Db = Omit<NeonHttpDatabase, "transaction">;
export type Row = Record<string, unknown>;

export type Connection = {
  databaseUrl: string;
  /** A Neon-compatible `/sql` endpoint; the driver's own when null. */
  endpoint: string | null;
  /** After this a statement counts as failed; whether it ran is then unknown. */
  deadlineMs: number;
};

/** No connection is held: what is made here may live as short as a request. */
export function connect({ databaseUrl, endpoint, deadlineMs }: Connection): Db {
  if (endpoint !== null) neonConfig.fetchEndpoint = endpoint;
  const fetchOptions = {
    // Read by the driver at every request, which is when the clock has to start.
    get signal() {
      return AbortSignal.timeout(deadlineMs);
    },
  };
  return drizzle(neon(databaseUrl, { fetchOptions }));
}

export type TransactionOptions = {
  isolationLevel?: "read committed" | "repeatable read" | "serializable";
  readOnly?: boolean;
  /** Postgres ends the statement itself after this long (SQLSTATE 57014). */
  statementTimeoutMs?: number;
};

/**
 * Runs statements as one transaction in one round trip, all or nothing; the rows of each. Throws what the driver throws:
 * a `NeonDbError`.
 */
export async function transaction(
  db: Db,
  statements: readonly SQL[],
  options: TransactionOptions = {},
): Promise<Row[][]> {
  const settings = settingsOf(options);
  const [first, ...rest] = [...settings, ...statements].map((statement) => db.execute<Row>(statement));
  if (first === undefined) return [];
  const results = await db.batch([first, ...rest]);
  return results.slice(settings.length).map((result) => result.rows);
}

/** One statement, which is its own transaction. */
export async function execute(db: Db, statement: SQL): Promise<Row[]> {
  const [rows = []] = await transaction(db, [statement]);
  return rows;
}

function settingsOf({ isolationLevel, readOnly, statementTimeoutMs }: TransactionOptions): SQL[] {
  const modes = [
    ...(isolationLevel ? [sql.raw(`isolation level ${isolationLevel}`)] : []),
    ...(readOnly ? [sql.raw("read only")] : []),
  ];
  return [
    ...(modes.length > 0 ? [sql`set transaction ${sql.join(modes, sql`, `)}`] : []),
    ...(statementTimeoutMs ? [sql.raw(`set local statement_timeout = ${Math.trunc(statementTimeoutMs)}`)] : []),
  ];
}
