import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { Uuid } from "../domain/ids.ts";
import type { LedgerEntry } from "../domain/ledger.ts";
import type { Db } from "./client.ts";
import { transaction } from "./client.ts";

/**
 * Keeps what Postgres refuses for its content: the letter has the entry's id, so it is kept once. Not of an erased session,
 * and not of somebody who is no more (their row was there before they could say anything).
 */
export async function writeDeadLetter(db: Db, entry: LedgerEntry, reason: string): Promise<void> {
  await transaction(db, [
    lockDeadLettersOf(entry.session.id),
    sql`insert into dead_letters (id, brand_id, source, address, reason, payload_json)
      select ${entry.id}, ${entry.session.brandId}, 'ledger', ${entry.address}, ${reason}, ${storable(entry)}::jsonb
      where not exists (select from erased_sessions where session_id = ${entry.session.id})
        and ${isThere(entry.session.userId)}
      on conflict (id) do nothing`,
  ]);
}

/** What names nobody is a bug's, and kept for somebody to look at. */
const isThere = (userId: string): SQL =>
  Uuid.safeParse(userId).success ? sql`exists (select from users where id = ${userId})` : sql`true`;

/** Held to the end of the transaction: of a letter about a session and the erasing of it, the second sees the first. */
export const lockDeadLettersOf = (sessionId: string): SQL =>
  sql`select pg_advisory_xact_lock(hashtextextended(${`letters of ${sessionId}`}, 0))`;

/** As JSON. NUL and halves of a pair are what JSON can say and `jsonb` can't; a letter about them must not be refused for them. */
export const storable = (value: unknown): string =>
  JSON.stringify(value).replaceAll(/\\u(?:0000|d[89a-f][0-9a-f]{2})/g, "\\ufffd");
