import { neon, neonConfig } from "@neondatabase/serverless";
import { SQL, sql } from "drizzle-orm";
import { withDeadline } from "../domain/deadline.ts";
import { TooLargeError } from "./errors.ts";
import { drizzle } from "drizzle-orm/neon-http";
import type { NeonHttpDatabase } from "drizzle-orm/neon-http";

/**
 * Postgres over HTTP: one statement or one batch is one request and one transaction. Interactive transactions do not
 * exist here, so they do not exist in the type.
 */
export type Db = Omit<NeonHttpDatabase, "transaction">;
export type Row = Record<string, unknown>;

/** Drizzle's query builder without a connection: what it builds is run by `transaction`. */
export const build = drizzle.mock();

/** A builder's query, typed by the schema; or SQL, the rows typed by `sql<Row>`. */
export type Statement = SQL | Built;
type Built = Parameters<NeonHttpDatabase["batch"]>[0][number];

/** The rows of a statement. */
export type RowOf<S> =
  S extends SQL<infer R>
    ? unknown extends R
      ? Row
      : R
    : S extends { readonly _: { readonly result: readonly (infer R)[] } }
      ? R
      : never;
export type RowsOf<S extends readonly Statement[]> = { -readonly [Index in keyof S]: RowOf<S[Index]>[] };

export type Connection = {
  databaseUrl: string;
  /** A Neon-compatible `/sql` endpoint; the driver's own when null. */
  endpoint: string | null;
  /** After this a statement counts as failed; whether it ran is then unknown. */
  deadlineMs: number;
};

/** Holds no connection: the result may live as short as a request. */
export function connect({ databaseUrl, endpoint, deadlineMs }: Connection): Db {
  neonConfig.fetchFunction = exchange;
  const fetchOptions = {
    ...(endpoint === null ? {} : { endpoint }),
    deadlineMs,
  };
  return drizzle(neon(databaseUrl, { fetchOptions }));
}

/** The request, or its rows, were more than the endpoint transfers at once (Neon: 10 MB each). */
const TOO_LARGE: readonly number[] = [413, 507];

/**
 * One request of the driver, including its body: every failure of the exchange is thrown in here, where the driver makes a
 * `NeonDbError` of it. The endpoint comes with the request, because the driver has one setting for all connections.
 */
async function exchange(
  address: string,
  { endpoint, deadlineMs, ...init }: RequestInit & { endpoint?: string; deadlineMs: number },
): Promise<Response> {
  return withDeadline(deadlineMs, async (signal) => {
    const response = await fetch(endpoint ?? address, { ...init, signal });
    if (TOO_LARGE.includes(response.status)) throw new TooLargeError(`HTTP status ${response.status}`);
    return new Response(await response.arrayBuffer(), { status: response.status });
  });
}

export type TransactionOptions = {
  isolationLevel?: keyof typeof ISOLATION;
  readOnly?: boolean;
  /** Postgres ends a statement itself after this long (SQLSTATE 57014). */
  statementTimeoutMs?: number;
};

/**
 * Runs statements as one transaction in one round trip, all or nothing; returns the rows of each. A failure on the way to
 * Postgres, in it or on the way back is thrown as the driver's `NeonDbError`; anything else thrown is a bug.
 */
export async function transaction<const S extends readonly Statement[]>(
  db: Db,
  statements: S,
  options: TransactionOptions = {},
): Promise<RowsOf<S>> {
  const settings = settingsOf(options);
  const all: readonly Statement[] = [...settings, ...statements];
  const [first, ...rest] = all.map((statement) => (statement instanceof SQL ? db.execute<Row>(statement) : statement));
  const results = first === undefined ? [] : await db.batch([first, ...rest]);
  const rows = results.slice(settings.length).map(rowsIn);
  // The one place where rows get the types their statements declare.
  return rows as RowsOf<S>;
}

/** A builder's result is its rows; the driver's result of plain SQL has them in a field. */
const rowsIn = (result: unknown): unknown => (Array.isArray(result) ? result : (result as { rows: Row[] }).rows);

/** Runs one statement, which is its own transaction. */
export async function execute<S extends Statement>(db: Db, statement: S): Promise<RowOf<S>[]> {
  const [rows] = await transaction(db, [statement]);
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
