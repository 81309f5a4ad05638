import { and, asc, eq, isNotNull, lt, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { addressOfSession } from "../domain/address.ts";
import type { Session } from "../domain/session.ts";
import { build } from "./client.ts";
import type { Db } from "./client.ts";
import { lockDeadLettersOf } from "./dead-letters.ts";
import { brands, instanceConfigs } from "./schema/brands.ts";
import { sessions } from "./schema/conversations.ts";
import { activeConfig } from "./sessions.ts";
import { ids, iso } from "./sql.ts";
import { write } from "./write.ts";

/** A session may have a million rows: no statement deletes more than this of any table. */
const CHUNK = 10_000;

/**
 * Erases a brand's session with all its rows and dead letters; returns whether there was one. The tombstone keeps the
 * ledger from inserting it again. The row of a session that the ledger may be inserting at this moment is inserted here
 * first, so that the second of the two transactions waits and then finds row or tombstone.
 */
export async function eraseSession(
  db: Db,
  { brandId, sessionId, session }: { brandId: string; sessionId: string; session: Session | null },
): Promise<boolean> {
  const [before] = await write(db, [
    sql`select id from sessions where id = ${sessionId} and brand_id = ${brandId}`,
    ...(session === null ? [] : [claimRow(session)]),
    sql`insert into erased_sessions (session_id, brand_id) values (${sessionId}, ${brandId}) on conflict do nothing`,
    lockDeadLettersOf(sessionId),
    sql`delete from dead_letters where brand_id = ${brandId} and payload_json #>> '{session,id}' = ${sessionId}`,
    // A rejected webhook message names no session, only its address and time.
    sql`delete from dead_letters d using sessions s
      where s.id = ${sessionId} and s.brand_id = ${brandId} and d.source <> 'ledger' and d.address = s.address
        and coalesce(d.brand_id, s.brand_id) = s.brand_id and d.created_at >= s.started_at
        and d.created_at <= coalesce(s.expired_at, now())`,
  ]);
  await deleteSessions(db, brandId, [sessionId]);
  return before.length > 0;
}

const claimRow = (session: Session): SQL => sql`
  insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at)
  select ${session.id}, i.brand_id, i.id, u.id, ${session.channel}, ${addressOfSession(session.id) ?? ""},
    ${iso(session.startedAt)}::timestamptz
  from instances i join users u on u.brand_id = i.brand_id
  where i.id = ${session.instanceId} and u.id = ${session.userId} and i.brand_id = ${session.brandId}
  on conflict (id) do nothing`;

/**
 * Deletes a brand's sessions once their rows are deleted; returns how many. One transaction, unless a session has more than
 * `CHUNK` rows of a table.
 */
export async function deleteSessions(db: Db, brandId: string, sessionIds: readonly string[]): Promise<number> {
  for (let deleted = 0; ;) {
    const [, , , gone, left] = await write(db, [
      deleteRows(sql`messages`, brandId, sessionIds),
      deleteRows(sql`session_token_usage`, brandId, sessionIds),
      deleteRows(sql`idempotency_locks`, brandId, sessionIds),
      deleteEmptySessions(brandId, sessionIds),
      sql`select id from sessions where id in (${ids(sessionIds)}) and brand_id = ${brandId} limit 1`,
    ]);
    deleted += gone.length;
    if (left.length === 0) return deleted;
  }
}

const deleteRows = (table: SQL, brandId: string, sessionIds: readonly string[]): SQL => sql`
  delete from ${table} where id in (
    select h.id from ${table} h join sessions s on s.id = h.session_id
    where s.id in (${ids(sessionIds)}) and s.brand_id = ${brandId} limit ${CHUNK})`;

/** What a guest said of themselves, phone and e-mail among it, is deleted with their last session. */
const deleteEmptySessions = (brandId: string, sessionIds: readonly string[]): SQL => sql`
  with gone as (
    delete from sessions s where s.id in (${ids(sessionIds)}) and s.brand_id = ${brandId}
      and not exists (select from messages m where m.session_id = s.id)
      and not exists (select from session_token_usage u where u.session_id = s.id)
      and not exists (select from idempotency_locks l where l.session_id = s.id)
    returning id, user_id
  ), forgotten as (
    update users u set metadata_json = '{}', updated_at = now()
    where u.tier = 'guest' and u.id in (select user_id from gone) and u.metadata_json <> '{}'
      and not exists (select from sessions s where s.user_id = u.id and s.id not in (select id from gone))
  )
  select id from gone`;

/** The brands with a retention period, and its length in days. */
export async function brandsWithRetention(db: Db): Promise<{ brandId: string; days: number }[]> {
  const [found] = await write(db, [
    build
      .select({ brandId: brands.id, days: sql<number>`${brands.retentionDays}` })
      .from(brands)
      .where(isNotNull(brands.retentionDays))
      .orderBy(asc(brands.id)),
  ]);
  return found;
}

/**
 * Up to `limit` of a brand's sessions that ended before a moment (epoch milliseconds), by request or by timeout, oldest
 * first. `timeoutMinutes` is for instances without a timeout of their own.
 */
export async function expiredSessions(
  db: Db,
  { brandId, endedBefore, limit, timeoutMinutes }: ExpiredSessions,
): Promise<{ id: string; address: string }[]> {
  const before = sql`${iso(endedBefore)}::timestamptz`;
  const endedAt = sql`coalesce(${sessions.expiredAt}, ${sessions.lastMessageAt}
    + make_interval(mins => coalesce(${instanceConfigs.sessionTimeoutMinutes}, ${timeoutMinutes}::int)))`;
  const [found] = await write(db, [
    build
      .select({ id: sessions.id, address: sessions.address })
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .where(and(eq(sessions.brandId, brandId), lt(sessions.startedAt, before), sql`${endedAt} < ${before}`))
      .orderBy(asc(sessions.startedAt))
      .limit(limit),
  ]);
  return found;
}

export type ExpiredSessions = { brandId: string; endedBefore: number; limit: number; timeoutMinutes: number };

/** Deletes up to `limit` locks expired by `now` (epoch milliseconds), oldest first. Returns their number. */
export async function deleteExpiredLocks(db: Db, now: number, limit: number): Promise<number> {
  const [deleted] = await write(db, [
    sql`
      delete from idempotency_locks where id in (
        select id from idempotency_locks where expires_at <= ${iso(now)}::timestamptz order by expires_at limit ${limit}
        for update skip locked)
      returning id`,
  ]);
  return deleted.length;
}

/** Deletes up to `limit` tombstones made before a moment (epoch milliseconds); returns how many. */
export async function deleteTombstones(db: Db, madeBefore: number, limit: number): Promise<number> {
  const [deleted] = await write(db, [
    sql`
      delete from erased_sessions where session_id in (
        select session_id from erased_sessions where created_at < ${iso(madeBefore)}::timestamptz order by created_at limit ${limit})
      returning session_id`,
  ]);
  return deleted.length;
}

/** Deletes up to `limit` dead letters of a brand (null: of none) made before a moment; returns how many. */
export async function deleteDeadLetters(
  db: Db,
  brandId: string | null,
  madeBefore: number,
  limit: number,
): Promise<number> {
  const [deleted] = await write(db, [
    sql`
      delete from dead_letters where id in (
        select id from dead_letters where brand_id is not distinct from ${brandId}::uuid
          and created_at < ${iso(madeBefore)}::timestamptz
        order by created_at limit ${limit})
      returning id`,
  ]);
  return deleted.length;
}

/** Deletes up to `limit` of a brand's guests that were created before a moment and have no session; returns how many. */
export async function deleteGuests(db: Db, brandId: string, createdBefore: number, limit: number): Promise<number> {
  const [deleted] = await write(db, [
    sql`
      delete from users where id in (
        select u.id from users u
        where u.brand_id = ${brandId} and u.tier = 'guest' and u.created_at < ${iso(createdBefore)}::timestamptz
          and not exists (select from sessions s where s.user_id = u.id)
        limit ${limit})
      returning id`,
  ]);
  return deleted.length;
}
