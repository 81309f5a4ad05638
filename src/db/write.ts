import { transaction } from "./client.ts";
import type { Db, RowOf, RowsOf, Statement } from "./client.ts";
import { databaseError } from "./errors.ts";
import { withRetry } from "./retry.ts";

/**
 * A service's write: one transaction, sent again when it is known to have done nothing or when its connection was lost. The
 * statements must be idempotent. Returns the rows of each; refuses with the error table's database errors.
 */
export async function write<const S extends readonly Statement[]>(db: Db, statements: S): Promise<RowsOf<S>> {
  try {
    return await withRetry(() => transaction(db, statements), { isRepeatable: true });
  } catch (error) {
    throw databaseError(error);
  }
}

/** The same, and the rows of a last statement, which reads what the others wrote. */
export async function writeAndRead<S extends Statement>(
  db: Db,
  statements: readonly Statement[],
  last: S,
): Promise<RowOf<S>[]> {
  const results: unknown[][] = await write(db, [...statements, last]);
  return results.at(-1) as RowOf<S>[];
}
