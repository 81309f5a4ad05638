import { sql } from "drizzle-orm";
import { execute } from "./client.ts";
import type { Db } from "./client.ts";

/** Measures one round trip to Postgres in milliseconds; throws when it doesn't answer. */
export async function pingDatabase(db: Db, now: () => number): Promise<number> {
  const startedAt = now();
  await execute(db, sql`select 1`);
  return now() - startedAt;
}
