import { and, eq, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Addresses } from "../domain/address.ts";
import type { Channel } from "../domain/channel.ts";
import { invalid } from "../domain/errors.ts";
import { STORED_IDENTIFIER_TYPES } from "../domain/user.ts";
import type { StoredIdentifier, User } from "../domain/user.ts";
import { build } from "./client.ts";
import type { Db } from "./client.ts";
import { instances } from "./schema/brands.ts";
import { users } from "./schema/people.ts";
import { iso } from "./sql.ts";
import { foundColumns, insertIdentifiers, pairs, toFoundUser } from "./users.ts";
import type { AddressOf, FoundUser } from "./users.ts";
import { writeAndRead } from "./write.ts";

export type NewUser = {
  instanceId: string;
  brandId: string;
  channel: Channel;
  user: User;
  /** Empty only for a guest. */
  identifiers: readonly StoredIdentifier[];
  /** The address of their conversation; their chat with the instance when left out. */
  address?: string;
  metadata: Record<string, unknown>;
  now: number;
};

/**
 * First contact, in one round trip: the user, their identifiers and their first session. Two at once end as one user: the
 * second transaction finds the identifiers taken, gives its own to the first user and deletes the user it made. Refuses
 * (400) a user without a brand, and one who is neither a guest nor has an identifier.
 */
export async function createUser(db: Db, addresses: Addresses, input: NewUser): Promise<FoundUser> {
  const { user, identifiers, brandId, instanceId } = input;
  if (!brandId) throw invalid("brand_id", "brand_id is required");
  if (identifiers.length === 0 && user.tier !== "guest") throw invalid("user", "An identifier is required");
  const owner = identifiers.length === 0 ? sql`${user.id}::uuid` : sql`(${ownerOf(input)})`;
  const addressOf: AddressOf = ({ userId }) => input.address ?? addresses.chat(instanceId, userId);
  const statements = [
    sql`insert into users (id, brand_id, tier, metadata_json)
      select ${user.id}::uuid, brand_id, ${user.tier}, ${JSON.stringify(input.metadata)}::jsonb
      from instances where id = ${instanceId} and brand_id = ${brandId}
      on conflict (id) do nothing`,
    ...(identifiers.length === 0 ? [] : claimIdentifiers(input)),
    insertFirstSession(addresses, input, owner),
  ];
  const found = build
    .select(foundColumns)
    .from(instances)
    .innerJoin(users, eq(users.brandId, instances.brandId))
    .where(and(eq(instances.id, instanceId), sql`${users.id} = ${owner}`));
  const [row] = await writeAndRead(db, statements, found);
  if (row === undefined) throw new Error("A user that was just created is not there");
  return toFoundUser(row, null, addressOf);
}

/** Both callers of a race derive the same id for it. A chat's address belongs to the user it was made for, who may have lost the race. */
function insertFirstSession(
  addresses: Addresses,
  { instanceId, channel, user, now, ...input }: NewUser,
  owner: SQL,
): SQL {
  const address = input.address ?? addresses.chat(instanceId, user.id);
  const id = addresses.firstSessionId(address);
  const userId = input.address === undefined ? sql`${user.id}::uuid` : owner;
  return sql`insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at)
    select ${id}::uuid, i.brand_id, i.id, u.id, ${channel}, ${address}, ${iso(now)}::timestamptz, ${iso(now)}::timestamptz
    from instances i join users u on u.brand_id = i.brand_id where i.id = ${instanceId} and u.id = ${userId}
      and not exists (select from erased_sessions where session_id = ${id}::uuid)
    on conflict (id) do nothing`;
}

/** Takes the identifiers that are free. If one belongs to another user, all go to that user and the new one is deleted. */
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

/** The user the identifiers belong to; by the first in order of priority when they are several users'. */
const ownerOf = ({ brandId, channel, identifiers }: NewUser, condition: SQL = sql``): SQL => sql`
  select ui.user_id from user_identifiers ui
  where ui.brand_id = ${brandId} and ui.channel = ${channel}
    and (ui.identifier_type, ui.identifier_value) in (${pairs(identifiers)}) ${condition}
  order by array_position(string_to_array(${STORED_IDENTIFIER_TYPES.join(",")}, ','), ui.identifier_type) limit 1`;
