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
  neonConfig.fetchFunction = exchange;
  const fetchOptions = {
    ...(endpoint === null ? {} : { endpoint }),
    // Read by the driver at every request, which is when the clock has to start.
    get signal() {
      return AbortSignal.timeout(deadlineMs);
    },
  };
  return drizzle(neon(databaseUrl, { fetchOptions }));
}

/**
 * One request of the driver, to its end: whatever fails on the way there or back fails in here, where the driver makes a
 * `NeonDbError` of it. The endpoint comes with the request, because the driver knows one for all of them.
 */
async function exchange(
  address: string,
  { endpoint, ...init }: RequestInit & { endpoint?: string },
): Promise<Response> {
  const response = await fetch(endpoint ?? address, init);
  return new Response(await response.arrayBuffer(), { status: response.status });
}

export type TransactionOptions = {
  isolationLevel?: keyof typeof ISOLATION;
  readOnly?: boolean;
  /** Postgres ends a statement itself after this long (SQLSTATE 57014). */
  statementTimeoutMs?: number;
};

/**
 * Runs statements as one transaction in one round trip, all or nothing; the rows of each. Whatever goes wrong on the way to
 * Postgres, there or back is thrown as the driver's `NeonDbError`; anything else is a bug.
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

const ISOLATION = {
  "read committed": sql`set transaction isolation level read committed`,
  "repeatable read": sql`set transaction isolation level repeatable read`,
  serializable: sql`set transaction isolation level serializable`,
};

function settingsOf({ isolationLevel, readOnly, statementTimeoutMs }: TransactionOptions): SQL[] {
  return [
    ...(isolationLevel ? [ISOLATION[isolationLevel]] : []),
    ...(readOnly ? [sql`set transaction read only`] : []),
    ...(statementTimeoutMs ? [sql`select set_config('statement_timeout', ${String(statementTimeoutMs)}, true)`] : []),
  ];
}
