import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Channel } from "../domain/channel.ts";
import type { Session } from "../domain/session.ts";
import type { TokenPlan } from "../domain/token.ts";
import type { StoredIdentifier, User, UserTier } from "../domain/user.ts";
import type { Db, Row } from "./client.ts";
import type { Query } from "./reader.ts";
import { write } from "./write.ts";

/** Somebody who was found, by what, and the session they have open with the instance. */
export type FoundUser = { user: User; by: StoredIdentifier | null; openSession: Session | null };

/** Who and where: identifiers mean something within a brand (the instance's) and a channel. */
type Scope = { instanceId: string; channel: Channel };

const pairs = (identifiers: readonly StoredIdentifier[]): SQL =>
  sql.join(
    identifiers.map(({ type, value }) => sql`(${type}, ${value})`),
    sql`, `,
  );

/** The session a person has open with the instance in its chat, newest first; times as epoch milliseconds. */
const openSession = sql`
  left join lateral (
    select s.id as session_id, s.channel as session_channel, s.token_plan_json,
      (extract(epoch from s.started_at) * 1000)::float8 as started_at,
      (extract(epoch from s.last_message_at) * 1000)::float8 as last_message_at,
      (extract(epoch from s.last_assistant_message_at) * 1000)::float8 as last_assistant_message_at
    from sessions s
    where s.user_id = u.id and s.instance_id = i.id and s.expired_at is null and s.address = i.id || ':' || u.id
    order by s.last_message_at desc limit 1
  ) s on true`;

const person = sql`u.id as user_id, u.tier, i.id as instance_id, i.brand_id, s.*`;

/** Everybody who goes by one of these identifiers. Never someone of another brand or channel. */
export const usersByIdentifiers = (scope: Scope, identifiers: readonly StoredIdentifier[]): Query<FoundUser[]> => ({
  statement: sql`
    select ui.identifier_type, ui.identifier_value, ${person}
    from instances i
    join user_identifiers ui on ui.brand_id = i.brand_id and ui.channel = ${scope.channel}
      and (ui.identifier_type, ui.identifier_value) in (${pairs(identifiers)})
    join users u on u.id = ui.user_id
    ${openSession}
    where i.id = ${scope.instanceId}`,
  read: (rows) => rows.map(toFoundUser),
});

/** A user of the instance's brand by id. */
export const userById = (instanceId: string, userId: string): Query<FoundUser | null> => ({
  statement: sql`
    select ${person} from instances i join users u on u.brand_id = i.brand_id and u.id = ${userId}
    ${openSession}
    where i.id = ${instanceId}`,
  read: ([row]) => (row ? toFoundUser(row) : null),
});

/** Gives a known user identifiers they didn't have. One that is somebody else's stays theirs. */
export async function addIdentifiers(
  db: Db,
  { brandId, channel }: { brandId: string; channel: Channel },
  userId: string,
  identifiers: readonly StoredIdentifier[],
): Promise<void> {
  await write(db, [insertIdentifiers({ brandId, channel }, userId, identifiers)]);
}

const insertIdentifiers = (
  { brandId, channel }: { brandId: string; channel: Channel },
  userId: string,
  identifiers: readonly StoredIdentifier[],
): SQL => sql`
  insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value)
  values ${sql.join(
    // Always in one order: two first contacts with the same identifiers wait for each other instead of deadlocking.
    identifiers
      .toSorted((a, b) => (a.type + a.value < b.type + b.value ? -1 : 1))
      .map(({ type, value }) => sql`(${userId}, ${brandId}, ${channel}, ${type}, ${value})`),
    sql`, `,
  )}
  on conflict (identifier_type, identifier_value, channel, brand_id) where brand_id is not null do nothing`;

export type NewUser = {
  instanceId: string;
  brandId: string;
  channel: Channel;
  user: User;
  /** Empty for a guest. */
  identifiers: readonly StoredIdentifier[];
  metadata: Record<string, unknown>;
  now: number;
};

/**
 * First contact, in one round trip: the user, what they go by, and their first session. Two at once end as one user: who
 * comes second finds the identifiers taken, hands over what it took itself, and goes by the first.
 */
export async function createUser(db: Db, input: NewUser): Promise<FoundUser> {
  const { user, identifiers, brandId, channel, instanceId } = input;
  const at = new Date(input.now).toISOString();
  const identified = identifiers.length > 0;
  const mine = sql`ui.brand_id = ${brandId} and ui.channel = ${channel}
    and (ui.identifier_type, ui.identifier_value) in (${identified ? pairs(identifiers) : sql`('', '')`})`;
  const statements = [
    sql`insert into users (id, brand_id, tier, metadata_json)
      values (${user.id}, ${brandId}, ${user.tier}, ${JSON.stringify(input.metadata)}::jsonb) on conflict (id) do nothing`,
    ...(identified
      ? [
          insertIdentifiers({ brandId, channel }, user.id, identifiers),
          sql`update user_identifiers set user_id = (
              select ui.user_id from user_identifiers ui where ${mine} and ui.user_id <> ${user.id} order by ui.created_at, ui.id limit 1)
            where user_id = ${user.id}
              and exists (select from user_identifiers ui where ${mine} and ui.user_id <> ${user.id})`,
          sql`delete from users where id = ${user.id}
            and not exists (select from user_identifiers where user_id = ${user.id})`,
        ]
      : []),
    // The id is a function of user and instance (a UUIDv8): whoever loses the race makes the same session.
    sql`insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at)
      select overlay(overlay(md5('first:' || u.id || i.id) placing '8' from 13) placing '8' from 17)::uuid, i.brand_id, i.id, u.id, ${channel}::text, i.id || ':' || u.id, ${at}::timestamptz, ${at}::timestamptz
      from instances i join users u on u.brand_id = i.brand_id where i.id = ${instanceId} and u.id = ${owner(user, mine, identified)}
      on conflict (id) do nothing`,
    sql`select ${person} from instances i join users u on u.brand_id = i.brand_id ${openSession}
      where i.id = ${instanceId} and u.id = ${owner(user, mine, identified)}`,
  ];
  const [row] = (await write(db, statements)).at(-1) ?? [];
  if (row === undefined) throw new Error("A user who was just created is not there");
  return toFoundUser(row);
}

/** Who the identifiers belong to by now; a guest is themselves. */
const owner = (user: User, mine: SQL, identified: boolean): SQL =>
  identified
    ? sql`(select ui.user_id from user_identifiers ui where ${mine} order by ui.created_at, ui.id limit 1)`
    : sql`${user.id}`;

const toFoundUser = (row: Row): FoundUser => ({
  user: { id: row.user_id as string, tier: row.tier as UserTier },
  by:
    row.identifier_type === undefined
      ? null
      : ({ type: row.identifier_type, value: row.identifier_value } as StoredIdentifier),
  openSession: row.session_id === null ? null : toSession(row),
});

const toSession = (row: Row): Session => ({
  id: row.session_id as string,
  brandId: row.brand_id as string,
  instanceId: row.instance_id as string,
  userId: row.user_id as string,
  channel: row.session_channel as Channel,
  startedAt: row.started_at as number,
  lastMessageAt: row.last_message_at as number,
  lastAssistantMessageAt: row.last_assistant_message_at as number | null,
  tokenPlan: row.token_plan_json as TokenPlan | null,
});
