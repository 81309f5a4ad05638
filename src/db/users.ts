import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { sessionIdAt } from "../domain/address.ts";
import type { Channel } from "../domain/channel.ts";
import { invalid } from "../domain/errors.ts";
import type { Session } from "../domain/session.ts";
import { STORED_IDENTIFIER_TYPES } from "../domain/user.ts";
import type { StoredIdentifier, User, UserTier } from "../domain/user.ts";
import type { Db, Row } from "./client.ts";
import { instanceIs } from "./instances.ts";
import type { InstanceKey } from "./instances.ts";
import type { Query } from "./reader.ts";
import { write } from "./write.ts";
import type { TokenPlan } from "../domain/token-plan.ts";

/** Somebody who was found, by what, and the session they have open with the instance. */
export type FoundUser = { user: User; by: StoredIdentifier | null; openSession: Session | null };

/** Who and where: identifiers mean something within a brand (the instance's) and a channel. */
type Scope = { instanceId: string; channel: Channel };

const pairs = (identifiers: readonly StoredIdentifier[]): SQL =>
  sql.join(
    identifiers.map(({ type, value }) => sql`(${type}, ${value})`),
    sql`, `,
  );

/** `chatAddress(i.id, u.id)`, and the id of the first session there: `sessionIdAt(…, 0)`. */
const chatAddress = sql`left(encode(sha256(convert_to(i.id || ':' || u.id, 'UTF8')), 'hex'), 22)`;
const firstSessionId = sql`overlay(overlay('00000000' || ${chatAddress} placing '8' from 13 for 0) placing 'b' from 17 for 0)::uuid`;

/** The session a person has open with the instance at an address, newest first; times as epoch milliseconds. */
const openSessionAt = (address: SQL): SQL => sql`
  left join lateral (
    select s.id as session_id, s.channel as session_channel, s.token_plan_json,
      (extract(epoch from s.started_at) * 1000)::float8 as started_at,
      (extract(epoch from s.last_message_at) * 1000)::float8 as last_message_at,
      (extract(epoch from s.last_assistant_message_at) * 1000)::float8 as last_assistant_message_at
    from sessions s
    where s.user_id = u.id and s.instance_id = i.id and s.expired_at is null and s.address = ${address}
    order by s.last_message_at desc limit 1
  ) s on true`;

/** The same in the instance's chat. */
export const openSession = openSessionAt(chatAddress);

const person = sql`u.id as user_id, u.tier, i.id as instance_id, i.brand_id, s.*`;

/** Everybody who goes by one of these identifiers. Never someone of another brand or channel. */
export const usersByIdentifiers = (scope: Scope, identifiers: readonly StoredIdentifier[]): Query<FoundUser[]> =>
  usersOf(sql`i.id = ${scope.instanceId}`, scope.channel, openSession, identifiers);

/** The same on WhatsApp, for an instance by any of its names, with the session open at this address. */
export const usersOnWhatsApp = (
  key: InstanceKey,
  address: string,
  identifiers: readonly StoredIdentifier[],
): Query<FoundUser[]> => usersOf(instanceIs(key), "whatsapp", openSessionAt(sql`${address}`), identifiers);

const usersOf = (
  instance: SQL,
  channel: Channel,
  session: SQL,
  identifiers: readonly StoredIdentifier[],
): Query<FoundUser[]> => ({
  statement: sql`
    select ui.identifier_type, ui.identifier_value, ${person}
    from instances i
    join user_identifiers ui on ui.brand_id = i.brand_id and ui.channel = ${channel}
      and (ui.identifier_type, ui.identifier_value) in (${pairs(identifiers)})
    join users u on u.id = ui.user_id
    ${session}
    where ${instance}`,
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

/**
 * Gives a user identifiers that a channel vouches for, also those that were somebody else's, and takes away those they
 * don't go by any more. False when there is nobody to give them to.
 */
export async function moveIdentifiers(
  db: Db,
  { brandId, channel }: { brandId: string; channel: Channel },
  userId: string,
  { to, from }: { to: readonly StoredIdentifier[]; from: readonly StoredIdentifier[] },
): Promise<boolean> {
  const taken =
    from.length === 0
      ? []
      : [
          sql`
    delete from user_identifiers where user_id = ${userId} and brand_id = ${brandId} and channel = ${channel}
      and (identifier_type, identifier_value) in (${pairs(from)})`,
        ];
  const given =
    to.length === 0
      ? []
      : [insertIdentifiers({ brandId, channel }, userId, to, sql`update set user_id = excluded.user_id returning id`)];
  const results = await write(db, [...taken, ...given]);
  return to.length === 0 || results.at(-1)?.length !== 0;
}

/** Always in one order: two first contacts with the same identifiers wait for each other instead of deadlocking. */
const insertIdentifiers = (
  { brandId, channel }: { brandId: string; channel: Channel },
  userId: string,
  identifiers: readonly StoredIdentifier[],
  taken: SQL = sql`nothing`,
): SQL => sql`
  insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value)
  select u.id, u.brand_id, ${channel}, i.type, i.value
  from users u, (values ${pairs(identifiers)}) as i (type, value)
  where u.id = ${userId} and u.brand_id = ${brandId}
  order by i.type, i.value
  on conflict (identifier_type, identifier_value, channel, brand_id) where brand_id is not null do ${taken}`;

export type NewUser = {
  instanceId: string;
  brandId: string;
  channel: Channel;
  user: User;
  /** Empty for a guest, and for nobody else. */
  identifiers: readonly StoredIdentifier[];
  /** Where their conversation is; their chat with the instance when left out. */
  address?: string;
  metadata: Record<string, unknown>;
  now: number;
};

/**
 * First contact, in one round trip: the user, what they go by, and their first session. Two at once end as one user: who
 * comes second finds the identifiers taken, leaves what it has itself to whom they belong, and goes by them. Refuses (400)
 * a user without a brand, and one who is neither a guest nor has an identifier.
 */
export async function createUser(db: Db, input: NewUser): Promise<FoundUser> {
  const { user, identifiers, brandId, instanceId } = input;
  if (!brandId) throw invalid("brand_id", "brand_id is required");
  if (identifiers.length === 0 && user.tier !== "guest") throw invalid("user", "An identifier is required");
  const owner = identifiers.length === 0 ? sql`${user.id}::uuid` : sql`(${ownerOf(input)})`;
  const at = new Date(input.now).toISOString();
  const [address, sessionId] = placeOf(input);
  const statements = [
    sql`insert into users (id, brand_id, tier, metadata_json)
      select ${user.id}::uuid, brand_id, ${user.tier}, ${JSON.stringify(input.metadata)}::jsonb
      from instances where id = ${instanceId} and brand_id = ${brandId}
      on conflict (id) do nothing`,
    ...(identifiers.length === 0 ? [] : claimIdentifiers(input)),
    // The id is a function of user and instance: whoever loses the race makes the same session.
    sql`insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at)
      select ${sessionId}, i.brand_id, i.id, u.id, ${input.channel}, ${address},
        ${at}::timestamptz, ${at}::timestamptz
      from instances i join users u on u.brand_id = i.brand_id where i.id = ${instanceId} and u.id = ${owner}
        and not exists (select from erased_sessions where session_id = ${sessionId})
      on conflict (id) do nothing`,
    sql`select ${person} from instances i join users u on u.brand_id = i.brand_id ${openSessionAt(address)}
      where i.id = ${instanceId} and u.id = ${owner}`,
  ];
  const [row] = (await write(db, statements)).at(-1) ?? [];
  if (row === undefined) throw new Error("A user who was just created is not there");
  return toFoundUser(row);
}

/** The address of somebody's conversation, and the id of the first session there. */
const placeOf = ({ address }: Pick<NewUser, "address">): [SQL, SQL] =>
  address === undefined ? [chatAddress, firstSessionId] : [sql`${address}`, sql`${sessionIdAt(address, 0)}::uuid`];

/** Takes what is free. If anything is somebody's already, all of it goes to them and the new user is gone again. */
const claimIdentifiers = (input: NewUser): SQL[] => {
  const { user, identifiers } = input;
  return [
    insertIdentifiers(input, user.id, identifiers),
    sql`with known as (${ownerOf(input, sql`and ui.user_id <> ${user.id}`)})
      update user_identifiers set user_id = known.user_id from known where user_identifiers.user_id = ${user.id}`,
    sql`delete from users where id = ${user.id}
      and not exists (select from user_identifiers where user_id = ${user.id})`,
  ];
};

/** Who the identifiers belong to; by the one that counts most when they are several people's. */
const ownerOf = ({ brandId, channel, identifiers }: NewUser, condition: SQL = sql``): SQL => sql`
  select ui.user_id from user_identifiers ui
  where ui.brand_id = ${brandId} and ui.channel = ${channel}
    and (ui.identifier_type, ui.identifier_value) in (${pairs(identifiers)}) ${condition}
  order by array_position(string_to_array(${STORED_IDENTIFIER_TYPES.join(",")}, ','), ui.identifier_type) limit 1`;

const toFoundUser = (row: Row): FoundUser => ({
  user: { id: row.user_id as string, tier: row.tier as UserTier },
  by:
    row.identifier_type === undefined
      ? null
      : ({ type: row.identifier_type, value: row.identifier_value } as StoredIdentifier),
  openSession: row.session_id === null ? null : toSession(row),
});

export const toSession = (row: Row): Session => ({
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

/** Who is known by these claims. */
export type KnownUsers = { byToken: FoundUser | null; byIdentifier: FoundUser[] };
