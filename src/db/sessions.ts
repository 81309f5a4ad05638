import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Channel } from "../domain/channel.ts";
import type { Cursor } from "../domain/page.ts";
import type { Role } from "../domain/role.ts";
import type { Session } from "../domain/session.ts";
import type { Row } from "./client.ts";
import type { Query } from "./reader.ts";
import { ids, iso } from "./sql.ts";
import type { TokenPlan } from "../domain/token-plan.ts";

/** A session as Postgres has it. Times are epoch milliseconds. */
export type StoredSession = Session & {
  address: string;
  /** null while nobody has ended it. */
  expiredAt: number | null;
  /** How long it may be quiet, if its instance says so. */
  timeoutMinutes: number | null;
  metadata: Record<string, unknown>;
};

/** Whose sessions a caller may see: the brand's, and of one person only if a person asks. */
export type Scope = { brandId: string; userId: string | null };

/** The columns `toStoredSession` reads, of a session `s`. */
export const sessionColumns = sql`s.id as session_id, s.brand_id, s.instance_id, s.user_id as owner_id, s.channel, s.address,
  (extract(epoch from s.started_at) * 1000)::float8 as started_at,
  (extract(epoch from s.last_message_at) * 1000)::float8 as last_message_at,
  (extract(epoch from s.last_assistant_message_at) * 1000)::float8 as last_assistant_message_at,
  (extract(epoch from s.expired_at) * 1000)::float8 as expired_at,
  s.token_plan_json, s.metadata_json as session_metadata,
  (select c.session_timeout_minutes from instance_configs c where c.instance_id = s.instance_id and c.is_active) as timeout_minutes`;

export const toStoredSession = (row: Row): StoredSession => ({
  id: row.session_id as string,
  brandId: row.brand_id as string,
  instanceId: row.instance_id as string,
  userId: row.owner_id as string,
  channel: row.channel as Channel,
  address: row.address as string,
  startedAt: row.started_at as number,
  lastMessageAt: row.last_message_at as number,
  lastAssistantMessageAt: row.last_assistant_message_at as number | null,
  tokenPlan: row.token_plan_json as TokenPlan | null,
  expiredAt: row.expired_at as number | null,
  timeoutMinutes: row.timeout_minutes as number | null,
  metadata: row.session_metadata as Record<string, unknown>,
});

/** Makes a session known that its object will tell of: nothing if it is known by now, or was erased. */
export const insertSession = (session: Session, address: string): SQL => sql`
  insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at)
  select ${session.id}::uuid, ${session.brandId}::uuid, ${session.instanceId}::uuid, ${session.userId}::uuid,
    ${session.channel}, ${address}, ${iso(session.startedAt)}::timestamptz, ${iso(session.lastMessageAt)}::timestamptz
  where not exists (select from erased_sessions where session_id = ${session.id}::uuid)
  on conflict (id) do nothing`;

/** A brand's session; null when the brand has none of this id. */
export const sessionById = (brandId: string, sessionId: string): Query<StoredSession | null> => ({
  statement: sql`select ${sessionColumns} from sessions s where s.id = ${sessionId} and s.brand_id = ${brandId}`,
  read: ([row]) => (row ? toStoredSession(row) : null),
});

/** How often each role has spoken. */
export type RoleCounts = Record<Role, number>;

/** A brand's session and how many messages it has, `except` not counted; null when the brand has no such session. */
export const sessionWithCounts = (
  { brandId, userId }: Scope,
  sessionId: string,
  except: readonly string[],
): Query<{ session: StoredSession; counts: RoleCounts } | null> => ({
  statement: sql`
    select ${sessionColumns}, m.*
    from sessions s
    left join lateral (
      select count(*) filter (where m.role = 'user')::int as user, count(*) filter (where m.role = 'assistant')::int as assistant,
        count(*) filter (where m.role = 'system')::int as system
      from messages m
      where m.session_id = s.id and (${userId}::uuid is null or s.user_id = ${userId}::uuid)
        ${except.length === 0 ? sql`` : sql`and m.id not in (${ids(except)})`}
    ) m on true
    where s.id = ${sessionId} and s.brand_id = ${brandId}`,
  read: ([row]) =>
    row
      ? {
          session: toStoredSession(row),
          counts: { user: row.user as number, assistant: row.assistant as number, system: row.system as number },
        }
      : null,
});

export type SessionWindow = {
  /** Only what began earlier. */
  before: Cursor<string> | null;
  offset: number;
  limit: number;
};

/** Sessions of a brand, or of one of its people, the newest first. */
export const sessionsPage = (
  { brandId, userId }: Scope,
  { before, offset, limit }: SessionWindow,
): Query<StoredSession[]> => ({
  statement: sql`
    select ${sessionColumns} from sessions s
    where s.brand_id = ${brandId} ${userId === null ? sql`` : sql`and s.user_id = ${userId}`}
      ${before === null ? sql`` : sql`and (s.started_at, s.id) < (${iso(before.at)}::timestamptz, ${before.tie}::uuid)`}
    order by s.started_at desc nulls last, s.id desc nulls last
    limit ${limit} offset ${offset}`,
  read: (rows) => rows.map(toStoredSession),
});
