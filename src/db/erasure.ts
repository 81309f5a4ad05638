import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { addressOfSession } from "../domain/address.ts";
import type { Session } from "../domain/session.ts";
import type { Db } from "./client.ts";
import { lockDeadLettersOf } from "./dead-letters.ts";
import { ids, iso } from "./sql.ts";
import { write } from "./write.ts";

/** Rows deleted per table and statement; a session may have a million. */
const CHUNK = 10_000;

/**
 * Erases a brand's session with its rows and dead letters. Returns whether it existed. The tombstone keeps the ledger from
 * writing it again. Creates the session row if the ledger has not, so that both writers lock the same row and the later
 * one sees the tombstone.
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
    // Rejected webhook messages of the session's time: they name an address, but no session.
    sql`delete from dead_letters d using sessions s
      where s.id = ${sessionId} and s.brand_id = ${brandId} and d.source = s.channel and d.address = s.address
        and coalesce(d.brand_id, s.brand_id) = s.brand_id and d.created_at >= s.started_at
        and d.created_at <= coalesce(s.expired_at, now())`,
  ]);
  await deleteSessions(db, brandId, [sessionId]);
  return before !== undefined && before.length > 0;
}

const claimRow = (session: Session): SQL => sql`
  insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at)
  select ${session.id}, i.brand_id, i.id, u.id, ${session.channel}, ${addressOfSession(session.id) ?? ""},
    ${iso(session.startedAt)}::timestamptz
  from instances i join users u on u.brand_id = i.brand_id
  where i.id = ${session.instanceId} and u.id = ${session.userId} and i.brand_id = ${session.brandId}
  on conflict (id) do nothing`;

/** Deletes sessions after their rows, in one transaction unless they have many. Returns the number deleted. */
async function deleteSessions(db: Db, brandId: string, sessionIds: readonly string[]): Promise<number> {
  for (let deleted = 0; ;) {
    const results = await write(db, [
      ...[sql`messages`, sql`session_token_usage`, sql`idempotency_locks`].map(
        (table) => sql`
          delete from ${table} where id in (
            select h.id from ${table} h join sessions s on s.id = h.session_id
            where s.id in (${ids(sessionIds)}) and s.brand_id = ${brandId} limit ${CHUNK})`,
      ),
      sql`
        delete from sessions s where s.id in (${ids(sessionIds)}) and s.brand_id = ${brandId}
          and not exists (select from messages m where m.session_id = s.id)
          and not exists (select from session_token_usage u where u.session_id = s.id)
          and not exists (select from idempotency_locks l where l.session_id = s.id)
        returning id`,
      sql`select id from sessions where id in (${ids(sessionIds)}) and brand_id = ${brandId} limit 1`,
    ]);
    deleted += results.at(-2)?.length ?? 0;
    if (results.at(-1)?.length === 0) return deleted;
  }
}

/** Brands with a retention period, in days. */
export async function brandsWithRetention(db: Db): Promise<{ brandId: string; days: number }[]> {
  const [rows] = await write(db, [
    sql`select id, retention_days from brands where retention_days is not null order by id`,
  ]);
  return rows.map((row) => ({ brandId: row.id as string, days: row.retention_days as number }));
}

/**
 * Deletes up to `limit` of a brand's sessions that ended before a time (epoch milliseconds), by request or by timeout.
 * Returns their number. `timeoutMinutes` is the timeout of instances without their own.
 */
export async function deleteExpiredSessions(
  db: Db,
  { brandId, endedBefore, limit, timeoutMinutes }: ExpiredSessions,
): Promise<number> {
  const [rows] = await write(db, [
    sql`
      select s.id from sessions s
      left join instance_configs c on c.instance_id = s.instance_id and c.is_active
      where s.brand_id = ${brandId} and s.started_at < ${iso(endedBefore)}::timestamptz and coalesce(
        s.expired_at, s.last_message_at + make_interval(mins => coalesce(c.session_timeout_minutes, ${timeoutMinutes}::int))
      ) < ${iso(endedBefore)}::timestamptz
      order by s.started_at limit ${limit}`,
  ]);
  return rows.length === 0
    ? 0
    : deleteSessions(
        db,
        brandId,
        rows.map((row) => row.id as string),
      );
}

export type ExpiredSessions = { brandId: string; endedBefore: number; limit: number; timeoutMinutes: number };

/** Deletes up to `limit` locks expired by `now` (epoch milliseconds), oldest first. Returns their number. */
export async function deleteExpiredLocks(db: Db, now: number, limit: number): Promise<number> {
  const [rows] = await write(db, [
    sql`
      delete from idempotency_locks where id in (
        select id from idempotency_locks where expires_at <= ${iso(now)}::timestamptz order by expires_at limit ${limit}
        for update skip locked)
      returning id`,
  ]);
  return rows.length;
}

/** Deletes up to `limit` tombstones made before a time (epoch milliseconds). Returns their number. */
export async function deleteTombstones(db: Db, madeBefore: number, limit: number): Promise<number> {
  const [rows] = await write(db, [
    sql`
      delete from erased_sessions where session_id in (
        select session_id from erased_sessions where created_at < ${iso(madeBefore)}::timestamptz order by created_at limit ${limit})
      returning session_id`,
  ]);
  return rows.length;
}
