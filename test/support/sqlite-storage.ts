import { DatabaseSync } from "node:sqlite";
import type { SqlValue, Storage } from "../../durable-objects/runtime/storage.ts";

/** The platform's limit of a string and of a row; https://developers.cloudflare.com/durable-objects/platform/limits/ */
const MAX_ROW_BYTES = 2_000_000;

const sizeOf = (value: SqlValue): number => {
  if (typeof value === "string") return Buffer.byteLength(value);
  return value instanceof ArrayBuffer ? value.byteLength : 8;
};

/**
 * An object's storage on plain SQLite in memory, which outlives an incarnation of the object. To restart an object, a
 * test opens it again over the same storage.
 */
export function sqliteStorage(): Storage {
  const database = new DatabaseSync(":memory:");
  let depth = 0;
  return {
    sql: {
      // Runs at once, as on the platform: a statement takes effect even when its cursor is never read.
      exec: <Row extends Record<string, SqlValue>>(query: string, ...bindings: SqlValue[]) => {
        const size = bindings.reduce<number>((sum, value) => sum + sizeOf(value), 0);
        if (size > MAX_ROW_BYTES) throw new Error("string or blob too big: SQLITE_TOOBIG");
        const values = bindings.map((value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : value));
        const rows = database
          .prepare(query)
          .all(...values)
          .map((row) => ({ ...row }) as Row);
        return { toArray: () => rows };
      },
    },
    transactionSync: (closure) => {
      // A nested transaction is a savepoint: an exception rolls back only the inner part.
      depth += 1;
      database.exec(`SAVEPOINT level_${depth}`);
      try {
        const result = closure();
        database.exec(`RELEASE level_${depth}`);
        return result;
      } catch (error) {
        database.exec(`ROLLBACK TO level_${depth}; RELEASE level_${depth}`);
        throw error;
      } finally {
        depth -= 1;
      }
    },
  };
}
