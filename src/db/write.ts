import type { SQL } from "drizzle-orm";
import { transaction } from "./client.ts";
import type { Db, Row } from "./client.ts";
import { databaseError } from "./errors.ts";
import { withRetry } from "./retry.ts";

/**
 * A service's write: one transaction, sent again when it is known to have done nothing or when its connection was lost; so
 * the statements must be such that running them twice is running them once. The rows of each. Refuses with the table's
 * database errors.
 */
export async function write(db: Db, statements: readonly SQL[]): Promise<Row[][]> {
  try {
    return await withRetry(() => transaction(db, statements), { isRepeatable: true });
  } catch (error) {
    throw databaseError(error);
  }
}
