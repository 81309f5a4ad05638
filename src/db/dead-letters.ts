import { sql } from "drizzle-orm";
import type { LedgerEntry } from "../domain/ledger.ts";
import type { Db } from "./client.ts";
import { transaction } from "./client.ts";

/** Keeps what Postgres refuses for its content: the letter has the entry's id, so it is kept once. Not of an erased session. */
export async function writeDeadLetter(db: Db, entry: LedgerEntry, reason: string): Promise<void> {
  await transaction(db, [
    sql`insert into dead_letters (id, brand_id, source, address, reason, payload_json)
      select ${entry.id}, ${entry.session.brandId}, 'ledger', ${entry.address}, ${reason}, ${storable(entry)}::jsonb
      where not exists (select from erased_sessions where session_id = ${entry.session.id})
      on conflict (id) do nothing`,
  ]);
}

/** As JSON. NUL and halves of a pair are what JSON can say and `jsonb` can't; a letter about them must not be refused for them. */
export const storable = (value: unknown): string =>
  JSON.stringify(value).replaceAll(/\\u(?:0000|d[89a-f][0-9a-f]{2})/g, "\\ufffd");
