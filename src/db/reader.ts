import { transaction } from "./client.ts";
import type { Db, RowOf, Statement } from "./client.ts";
import { databaseError } from "./errors.ts";
import { withRetry } from "./retry.ts";

/** A statement and how its rows are read: a service asks for it without knowing which queries travel with it. */
export type Query<T> = { statement: Statement; read: (rows: never[]) => T };

/** A query with rows of the statement's types. */
export const query = <S extends Statement, T>(statement: S, read: (rows: RowOf<S>[]) => T): Query<T> => ({
  statement,
  read,
});

/** Runs a query. All queries of one tick travel in one round trip. */
export type Read = <T>(query: Query<T>) => Promise<T>;

type Waiting = { statement: Statement; resolve: (rows: never[]) => void; reject: (error: unknown) => void };

/**
 * Batches reads: services ask on their own, each for its noun, and one read-only transaction is sent. A message of a known
 * user in a cold isolate costs one round trip.
 */
export function createReader(db: Db): Read {
  let waiting: Waiting[] = [];

  const flush = async (): Promise<void> => {
    const batch = waiting;
    waiting = [];
    try {
      const statements = batch.map(({ statement }) => statement);
      const results = await withRetry(() => transaction(db, statements, { readOnly: true }), { isRepeatable: true });
      batch.forEach(({ resolve }, index) => resolve((results[index] ?? []) as never[]));
    } catch (error) {
      const refusal = databaseError(error);
      for (const { reject } of batch) reject(refusal);
    }
  };

  return async ({ statement, read }) => {
    const rows = await new Promise<never[]>((resolve, reject) => {
      if (waiting.push({ statement, resolve, reject }) === 1) setTimeout(() => void flush(), 0);
    });
    return read(rows);
  };
}
