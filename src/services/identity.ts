import { channelOf } from "../channels/registry.ts";
import { createUser } from "../db/user-create.ts";
import { addIdentifiers, userById, usersByIdentifiers } from "../db/users.ts";
import type { AddressOf, FoundUser, KnownUsers } from "../db/users.ts";
import type { Deps } from "../deps.ts";
import type { Channel } from "../domain/channel.ts";
import { AppError } from "../domain/errors.ts";
import { uuidOf, uuidv7 } from "../domain/ids.ts";
import { tierFor } from "../domain/identity.ts";
import type { Instance } from "../domain/instance.ts";
import type { Session } from "../domain/session.ts";
import { STORED_IDENTIFIER_TYPES } from "../domain/user.ts";
import type { StoredIdentifier, User, AuthState } from "../domain/user.ts";

/** What somebody says of themselves, checked: a user a token stands for, and identifiers in the order they count. */
export type Claims = {
  instanceId: string;
  channel: Channel;
  /** Set when a token was verified. */
  tokenUserId: string | null;
  /** The token came in the header: then it is the user, whatever else is said. */
  tokenDecides: boolean;
  identifiers: readonly StoredIdentifier[];
  /** Where the first session of somebody new is; their chat with the instance when left out. */
  address?: string;
};

/** The person who speaks, and the session Postgres has open for them if it was asked. */
export type Sender = { user: User; authState: AuthState; openSession: Session | null };
const keyOf = ({ instanceId, channel, tokenUserId, identifiers }: Claims): string =>
  JSON.stringify([instanceId, channel, tokenUserId, identifiers.map(({ type, value }) => [type, value])]);

/** Looks up everybody the claims name; at most one round trip, shared with whatever else is read in the same tick. */
export async function findKnownUsers(
  { read, caches, addresses }: Pick<Deps, "read" | "caches" | "addresses">,
  claims: Claims,
): Promise<KnownUsers> {
  const { instanceId, tokenUserId, identifiers } = claims;
  if (tokenUserId === null && identifiers.length === 0) return { byToken: null, byIdentifier: [] };
  const addressOf: AddressOf = (user) => addresses.chat(instanceId, user.userId);
  const scope = { instance: { id: instanceId }, channel: claims.channel, addressOf };
  const lookUp = async () => {
    const [byToken, byIdentifier] = await Promise.all([
      tokenUserId === null ? null : read(userById(instanceId, tokenUserId, addressOf)),
      identifiers.length === 0 ? [] : read(usersByIdentifiers(scope, identifiers)),
    ]);
    return { byToken, byIdentifier };
  };
  return caches.knownUsers.get(keyOf(claims), () => caches.lookups.run(lookUp));
}

/**
 * The person among those found: the token's user if it decides, else by phone, e-mail, device, token. Identifiers nobody
 * goes by are added to them; one that is somebody else's stays theirs. Nobody found by an identifier means first contact:
 * the person is made. null when nothing was claimed at all; refuses (401) a token of nobody.
 */
export async function resolveSender(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  claims: Claims,
  found: KnownUsers,
): Promise<Sender | null> {
  if (claims.tokenUserId !== null && found.byToken === null) {
    throw new AppError("UNAUTHORIZED", "The token's user does not exist");
  }
  const [first] = found.byIdentifier.toSorted((a, b) => priority(a) - priority(b));
  const known = claims.tokenDecides ? found.byToken : (first ?? found.byToken);
  if (known === null) return claims.identifiers.length === 0 ? null : createOnFirstContact(deps, instance, claims);

  // Anybody gets a guest's token: it proves nobody's number, and who is called by it one day would be theirs to read.
  const mayClaim = !(claims.tokenDecides && known.user.tier === "guest");
  const free = claims.identifiers.filter(
    ({ type, value }) => mayClaim && !found.byIdentifier.some(({ by }) => by?.type === type && by.value === value),
  );
  if (free.length > 0) {
    await addIdentifiers(deps.db, { brandId: instance.brandId, channel: claims.channel }, known.user.id, free);
  }
  // Only what changes it is remembered anew: somebody who keeps talking would else never be looked up again.
  if (free.length > 0 || [found.byToken, ...found.byIdentifier].some((person) => person?.openSession)) {
    // What was free is theirs or has just been taken by somebody else: either way nothing is left to add next time.
    const settled = free.map((by) => ({ ...known, by, openSession: null }));
    deps.caches.knownUsers.set(keyOf(claims), {
      byToken: found.byToken && { ...found.byToken, openSession: null },
      byIdentifier: [...found.byIdentifier.map((person) => ({ ...person, openSession: null })), ...settled],
    });
  }
  return {
    user: known.user,
    authState: known === found.byToken ? "authenticated" : "identified",
    openSession: known.openSession,
  };
}

const priority = ({ by }: FoundUser): number => STORED_IDENTIFIER_TYPES.findIndex((type) => type === by?.type);

/** First contact. However many come at once with the same claims, one user is made. */
async function createOnFirstContact(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  claims: Claims,
): Promise<Sender> {
  const person = await deps.caches.newUsers.get(keyOf(claims), () =>
    deps.caches.lookups.run(() =>
      createUser(deps.db, deps.addresses, {
        instanceId: instance.id,
        brandId: instance.brandId,
        channel: claims.channel,
        user: { id: uuidv7(deps.now()), tier: tierFor(channelOf(claims.channel)) },
        identifiers: claims.identifiers,
        ...(claims.address === undefined ? {} : { address: claims.address }),
        metadata: {},
        now: deps.now(),
      }),
    ),
  );
  deps.caches.knownUsers.set(keyOf(claims), {
    byToken: null,
    byIdentifier: claims.identifiers.map((by) => ({ ...person, by, openSession: null })),
  });
  return { user: person.user, authState: "identified", openSession: person.openSession };
}

/**
 * A guest: somebody who says nothing of themselves, or nothing that counts. The id is a function of what they sent and
 * from where, so a retry is the same guest.
 */
export async function guestSender(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  channel: Channel,
  visit: { requestId: string; fingerprint: string; clientAddress: string; unverified: Record<string, unknown> },
): Promise<Sender> {
  const { requestId, fingerprint, clientAddress } = visit;
  const id = await uuidOf(JSON.stringify(["guest", instance.id, channel, requestId, fingerprint, clientAddress]));
  const person = await deps.caches.newUsers.get(id, () =>
    deps.caches.lookups.run(() =>
      createUser(deps.db, deps.addresses, {
        instanceId: instance.id,
        brandId: instance.brandId,
        channel,
        user: { id, tier: "guest" },
        identifiers: [],
        metadata: visit.unverified,
        now: deps.now(),
      }),
    ),
  );
  return { user: person.user, authState: "guest", openSession: person.openSession };
}
