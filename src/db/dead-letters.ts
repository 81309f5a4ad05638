import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { Uuid } from "../domain/ids.ts";
import type { LedgerEntry } from "../domain/ledger.ts";
import type { Db } from "./client.ts";
import { transaction } from "./client.ts";
import { storable } from "./sql.ts";

/**
 * Stores an entry that Postgres refuses for its content, under the entry's id, so that it is stored once. Nothing is stored of
 * an erased session or a deleted user.
 */
export async function writeDeadLetter(db: Db, entry: LedgerEntry, reason: string): Promise<void> {
  await transaction(db, [
    lockDeadLettersOf(entry.session.id),
    sql`insert into dead_letters (id, brand_id, source, address, reason, payload_json)
      select ${entry.id}, ${entry.session.brandId}, 'ledger', ${entry.address}, ${reason}, ${storable(entry)}
      where not exists (select from erased_sessions where session_id = ${entry.session.id})
        and ${isKnownUser(entry.session.userId)}
      on conflict (id) do nothing`,
  ]);
}

/** A user id that is no UUID comes from a bug; its entry is stored for inspection. */
const isKnownUser = (userId: string): SQL =>
  Uuid.safeParse(userId).success ? sql`exists (select from users where id = ${userId})` : sql`true`;

/** Held to the end of the transaction: an erasure and a dead letter of one session run one after the other. */
export const lockDeadLettersOf = (sessionId: string): SQL =>
  sql`select pg_advisory_xact_lock(hashtextextended(${`dead letters of ${sessionId}`}, 0))`;
