import type { SQL } from "drizzle-orm";
import { transaction } from "./client.ts";
import type { Db, Row } from "./client.ts";
import { databaseError } from "./errors.ts";
import { withRetry } from "./retry.ts";

/** A statement and how its rows are read: what a service asks for without knowing what else is asked for. */
export type Query<T> = { statement: SQL; read: (rows: Row[]) => T };

/** Runs a query. All that is asked for in one tick travels in one round trip. */
export type Read = <T>(query: Query<T>) => Promise<T>;

type Waiting = { statement: SQL; resolve: (rows: Row[]) => void; reject: (error: unknown) => void };

/**
 * Gathers reads: services ask on their own, each for its noun, and one read-only batch goes out. That is how a message of
 * a known user in a cold isolate costs one round trip.
 */
export function createReader(db: Db): Read {
  let waiting: Waiting[] = [];

  const flush = async (): Promise<void> => {
    const batch = waiting;
    waiting = [];
    try {
      const statements = batch.map(({ statement }) => statement);
      const results = await withRetry(() => transaction(db, statements, { readOnly: true }), { isRepeatable: true });
      batch.forEach(({ resolve }, index) => resolve(results[index] ?? []));
    } catch (error) {
      const refusal = databaseError(error);
      for (const { reject } of batch) reject(refusal);
    }
  };

  return async ({ statement, read }) => {
    const rows = await new Promise<Row[]>((resolve, reject) => {
      if (waiting.push({ statement, resolve, reject }) === 1) setTimeout(() => void flush(), 0);
    });
    return read(rows);
  };
}
