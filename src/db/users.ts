import { and, eq, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Channel } from "../domain/channel.ts";
import type { StoredIdentifier, User } from "../domain/user.ts";
import type { Session } from "../domain/session.ts";
import { build } from "./client.ts";
import type { Db } from "./client.ts";
import { instanceIs } from "./instances.ts";
import type { InstanceKey } from "./instances.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { instances } from "./schema/brands.ts";
import { userIdentifiers, users } from "./schema/people.ts";
import { openAt, openSessions } from "./sessions.ts";
import type { OpenSession } from "./sessions.ts";
import { write } from "./write.ts";

/** A user, the identifier they were found by, and the session they have open at their conversation's address. */
export type FoundUser = { user: User; by: StoredIdentifier | null; openSession: Session | null };

/** The users found for the claims of one request. */
export type KnownUsers = { byToken: FoundUser | null; byIdentifier: FoundUser[] };

/** The address of a user's conversation with an instance. */
export type AddressOf = (user: { userId: string; instanceId: string }) => string;

export const foundColumns = { id: users.id, tier: users.tier, instanceId: instances.id, openSessions };

export const toFoundUser = (
  row: User & { instanceId: string; openSessions: OpenSession[] },
  by: StoredIdentifier | null,
  addressOf: AddressOf,
): FoundUser => ({
  user: { id: row.id, tier: row.tier },
  by,
  openSession: openAt(addressOf({ userId: row.id, instanceId: row.instanceId }), row.openSessions),
});

/** The users of the instance's brand who have one of these identifiers on this channel. */
export const usersByIdentifiers = (
  { instance, channel, addressOf }: { instance: InstanceKey; channel: Channel; addressOf: AddressOf },
  identifiers: readonly StoredIdentifier[],
): Query<FoundUser[]> =>
  query(
    build
      .select({ ...foundColumns, type: userIdentifiers.identifierType, value: userIdentifiers.identifierValue })
      .from(instances)
      .innerJoin(
        userIdentifiers,
        and(
          eq(userIdentifiers.brandId, instances.brandId),
          eq(userIdentifiers.channel, channel),
          sql`(${userIdentifiers.identifierType}, ${userIdentifiers.identifierValue}) in (${pairs(identifiers)})`,
        ),
      )
      .innerJoin(users, eq(users.id, userIdentifiers.userId))
      .where(instanceIs(instance)),
    (rows) => rows.map((row) => toFoundUser(row, { type: row.type, value: row.value }, addressOf)),
  );

/** A user of the instance's brand by id. */
export const userById = (instanceId: string, userId: string, addressOf: AddressOf): Query<FoundUser | null> =>
  query(
    build
      .select(foundColumns)
      .from(instances)
      .innerJoin(users, and(eq(users.brandId, instances.brandId), eq(users.id, userId)))
      .where(eq(instances.id, instanceId)),
    ([row]) => (row ? toFoundUser(row, null, addressOf) : null),
  );

/** Identifiers are unique within a brand and a channel. */
type IdentifierScope = { brandId: string; channel: Channel };

export const pairs = (identifiers: readonly StoredIdentifier[]): SQL =>
  sql.join(
    identifiers.map(({ type, value }) => sql`(${type}, ${value})`),
    sql`, `,
  );

/** Adds identifiers to a user. One that another user has stays theirs. */
export async function addIdentifiers(
  db: Db,
  scope: IdentifierScope,
  userId: string,
  identifiers: readonly StoredIdentifier[],
): Promise<void> {
  await write(db, [insertIdentifiers(scope, userId, identifiers)]);
}

/**
 * Gives a user identifiers that a channel vouches for, also those that another user had, and deletes those in `from`.
 * Returns false when there is no such user.
 */
export async function moveIdentifiers(
  db: Db,
  { brandId, channel }: IdentifierScope,
  userId: string,
  { to, from }: { to: readonly StoredIdentifier[]; from: readonly StoredIdentifier[] },
): Promise<boolean> {
  const deleted =
    from.length === 0
      ? []
      : [
          sql`
    delete from user_identifiers where user_id = ${userId} and brand_id = ${brandId} and channel = ${channel}
      and (identifier_type, identifier_value) in (${pairs(from)})`,
        ];
  const moved =
    to.length === 0
      ? []
      : [insertIdentifiers({ brandId, channel }, userId, to, sql`update set user_id = excluded.user_id returning id`)];
  const results = await write(db, [...deleted, ...moved]);
  return to.length === 0 || results.at(-1)?.length !== 0;
}

/** Always in one order: two first contacts with the same identifiers wait for each other instead of deadlocking. */
export const insertIdentifiers = (
  { brandId, channel }: IdentifierScope,
  userId: string,
  identifiers: readonly StoredIdentifier[],
  onConflict: SQL = sql`nothing`,
): SQL => sql`
  insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value)
  select u.id, u.brand_id, ${channel}, i.type, i.value
  from users u, (values ${pairs(identifiers)}) as i (type, value)
  where u.id = ${userId} and u.brand_id = ${brandId}
  order by i.type, i.value
  on conflict (identifier_type, identifier_value, channel, brand_id) where brand_id is not null do ${onConflict}`;
