import { and, eq, notInArray, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Cursor } from "../domain/page.ts";
import type { Role } from "../domain/role.ts";
import type { Session } from "../domain/session.ts";
import { build } from "./client.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { instanceConfigs, instances } from "./schema/brands.ts";
import { messages, sessions } from "./schema/conversations.ts";
import { users } from "./schema/people.ts";
import { ids, iso } from "./sql.ts";

/** A session as Postgres has it. Times are epoch milliseconds. */
export type StoredSession = Session & {
  address: string;
  /** null unless the session was ended by a request or replaced. */
  expiredAt: number | null;
  /** The instance's own inactivity timeout, if it has one. */
  timeoutMinutes: number | null;
  metadata: Record<string, unknown>;
};

/** The sessions a caller may see: the brand's, and of one user only if `userId` is set. */
export type Scope = { brandId: string; userId: string | null };

/** The columns of a `StoredSession`; needs a join of the instance's active configuration (`activeConfig`). */
export const sessionColumns = {
  id: sessions.id,
  brandId: sessions.brandId,
  instanceId: sessions.instanceId,
  userId: sessions.userId,
  channel: sessions.channel,
  address: sessions.address,
  startedAt: sessions.startedAt,
  lastMessageAt: sessions.lastMessageAt,
  lastAssistantMessageAt: sessions.lastAssistantMessageAt,
  tokenPlan: sessions.tokenPlanJson,
  expiredAt: sessions.expiredAt,
  timeoutMinutes: instanceConfigs.sessionTimeoutMinutes,
  metadata: sessions.metadataJson,
};

/** The session's instance has at most one active configuration. */
export const activeConfig = and(eq(instanceConfigs.instanceId, sessions.instanceId), instanceConfigs.isActive);

/** The session is in the brand; rows that hang on it are read only if it is also the user's (`isOwner`). */
export const isSession = (sessionId: string, { brandId }: Scope): SQL | undefined =>
  and(eq(sessions.id, sessionId), eq(sessions.brandId, brandId));

export const isOwner = ({ userId }: Scope): SQL | undefined =>
  userId === null ? undefined : eq(sessions.userId, userId);

/** Leaves out rows by id, in one parameter. */
export const isNoneOf = (column: Parameters<typeof notInArray>[0], except: readonly string[]): SQL | undefined =>
  except.length === 0 ? undefined : sql`${column} not in (${ids(except)})`;

/** A brand's session; null when the brand has none of this id. */
export const sessionById = (brandId: string, sessionId: string): Query<StoredSession | null> =>
  query(
    build
      .select(sessionColumns)
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .where(isSession(sessionId, { brandId, userId: null })),
    ([session]) => session ?? null,
  );

/** Messages by role. */
export type RoleCounts = Record<Role, number>;

const ofRole = (role: Role): SQL<number> => sql<number>`count(*) filter (where ${messages.role} = ${role})::int`;

/** A brand's session and its number of messages, `except` not counted; null when the brand has no such session. */
export function sessionWithCounts(
  scope: Scope,
  sessionId: string,
  except: readonly string[],
): Query<{ session: StoredSession; counts: RoleCounts } | null> {
  const counts = build
    .select({
      user: ofRole("user").as("user_messages"),
      assistant: ofRole("assistant").as("assistant_messages"),
      system: ofRole("system").as("system_messages"),
    })
    .from(messages)
    .where(and(eq(messages.sessionId, sessions.id), isOwner(scope), isNoneOf(messages.id, except)))
    .as("counts");
  return query(
    build
      .select({
        session: sessionColumns,
        counts: { user: counts.user, assistant: counts.assistant, system: counts.system },
      })
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .crossJoinLateral(counts)
      .where(isSession(sessionId, scope)),
    ([row]) => row ?? null,
  );
}

export type SessionWindow = {
  /** Only sessions that began earlier. */
  before: Cursor<string> | null;
  offset: number;
  limit: number;
};

/** Sessions of a brand, or of one of its users, the newest first. */
export const sessionsPage = (
  { brandId, userId }: Scope,
  { before, offset, limit }: SessionWindow,
): Query<StoredSession[]> =>
  query(
    build
      .select(sessionColumns)
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .where(
        and(
          eq(sessions.brandId, brandId),
          userId === null ? undefined : eq(sessions.userId, userId),
          before === null
            ? undefined
            : sql`(${sessions.startedAt}, ${sessions.id}) < (${iso(before.at)}::timestamptz, ${before.tie}::uuid)`,
        ),
      )
      // As the indexes `sessions_user_page` and `sessions_brand_page` have it.
      .orderBy(sql`${sessions.startedAt} desc nulls last, ${sessions.id} desc nulls last`)
      .limit(limit)
      .offset(offset),
    (rows) => rows,
  );

/** Open sessions beyond this are closed by the ledger. */
export const MAX_OPEN_SESSIONS = 10;

export type OpenSession = Session & { address: string };

/**
 * The open sessions of the `users` row with the `instances` row, newest first, as JSON. Addresses are made with a key that
 * Postgres doesn't have, so the caller chooses by address (`openAt`).
 */
export const openSessions = sql<OpenSession[]>`(
  select coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'brandId', s.brand_id, 'instanceId', s.instance_id,
    'userId', s.user_id, 'channel', s.channel, 'address', s.address, 'tokenPlan', s.token_plan_json,
    'startedAt', (extract(epoch from s.started_at) * 1000)::bigint,
    'lastMessageAt', (extract(epoch from s.last_message_at) * 1000)::bigint,
    'lastAssistantMessageAt', (extract(epoch from s.last_assistant_message_at) * 1000)::bigint)), '[]')
  from (
    select * from ${sessions} where ${sessions.userId} = ${users.id} and ${sessions.instanceId} = ${instances.id}
      and ${sessions.expiredAt} is null
    order by ${sessions.lastMessageAt} desc limit ${MAX_OPEN_SESSIONS}
  ) s)`;

/** The newest open session at an address. */
export function openAt(address: string, open: readonly OpenSession[]): Session | null {
  const found = open.find((session) => session.address === address);
  if (found === undefined) return null;
  const { address: _, ...session } = found;
  return session;
}

/** Inserts a session its object will tell of: nothing if it is known by now, or was erased. */
export const insertSession = (session: Session, address: string): SQL => sql`
  insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at)
  select ${session.id}::uuid, ${session.brandId}::uuid, ${session.instanceId}::uuid, ${session.userId}::uuid,
    ${session.channel}, ${address}, ${iso(session.startedAt)}::timestamptz, ${iso(session.lastMessageAt)}::timestamptz
  where not exists (select from erased_sessions where session_id = ${session.id}::uuid)
  on conflict (id) do nothing`;
