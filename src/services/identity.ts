import { channelOf } from "../channels/registry.ts";
import { createUser } from "../db/user-create.ts";
import { addIdentifiers, userById, usersByIdentifiers } from "../db/users.ts";
import type { AddressOf, FoundUser, KnownUsers } from "../db/users.ts";
import type { Deps } from "../deps.ts";
import type { Channel } from "../domain/channel.ts";
import { AppError, rateLimited } from "../domain/errors.ts";
import { uuidOf, uuidv7 } from "../domain/ids.ts";
import { tierFor } from "../domain/identity.ts";
import type { Instance } from "../domain/instance.ts";
import type { Session } from "../domain/session.ts";
import type { Permit } from "../isolate/rate-limits.ts";
import { STORED_IDENTIFIER_TYPES } from "../domain/user.ts";
import type { StoredIdentifier, User, AuthState } from "../domain/user.ts";

/** Validated claims of a sender: a token's user, and identifiers in order of precedence. */
export type Claims = {
  instanceId: string;
  channel: Channel;
  /** The user of a verified token. */
  tokenUserId: string | null;
  /** The token came in the header: its user is the sender, whatever the identifiers. */
  tokenDecides: boolean;
  identifiers: readonly StoredIdentifier[];
  /** Address of a new user's first session; by default their chat with the instance. */
  address?: string;
};

/** The sender, and their open session if Postgres was read. */
export type Sender = { user: User; authState: AuthState; openSession: Session | null };
const claimsKey = ({ instanceId, channel, tokenUserId, identifiers }: Claims): string =>
  JSON.stringify([instanceId, channel, tokenUserId, identifiers.map(({ type, value }) => [type, value])]);

/** Finds all users named by the claims, in at most one round trip, shared with other reads of the same tick. */
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
  return caches.knownUsers.get(claimsKey(claims), () => caches.lookups.run(lookUp));
}

/**
 * Selects the sender among the users found: the token's user if it decides, else by phone, e-mail, device, token. Free
 * identifiers are added to the sender; those of other users stay theirs. Creates a user on first contact. Returns null
 * without any claim. Refuses (401) a token of an unknown user.
 */
export async function resolveSender(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  claims: Claims,
  found: KnownUsers,
  permit: Permit | null = null,
): Promise<Sender | null> {
  if (claims.tokenUserId !== null && found.byToken === null) {
    throw new AppError("UNAUTHORIZED", "The token's user does not exist");
  }
  const [first] = found.byIdentifier.toSorted((a, b) => priority(a) - priority(b));
  const known = claims.tokenDecides ? found.byToken : (first ?? found.byToken);
  if (known === null) {
    if (claims.identifiers.length === 0) return null;
    // A user who is not known yet has sent nothing that this could be a duplicate of.
    if (permit?.kind === "exhausted") throw rateLimited("instance", permit.retryAfterMs);
    return createOnFirstContact(deps, instance, claims);
  }

  // Anyone can obtain a guest token, so it must not claim identifiers: a later owner of the number would share the guest's
  // history.
  const mayClaim = !(claims.tokenDecides && known.user.tier === "guest");
  const free = claims.identifiers.filter(
    ({ type, value }) => mayClaim && !found.byIdentifier.some(({ by }) => by?.type === type && by.value === value),
  );
  if (free.length > 0) {
    await addIdentifiers(deps.db, { brandId: instance.brandId, channel: claims.channel }, known.user.id, free);
  }
  // Refresh the cache entry only when it changed, or an active user would never be read again.
  if (free.length > 0 || [found.byToken, ...found.byIdentifier].some((person) => person?.openSession)) {
    // Free identifiers are the sender's now, or another user's since: nothing is left to add next time.
    const settled = free.map((by) => ({ ...known, by, openSession: null }));
    deps.caches.knownUsers.set(claimsKey(claims), {
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

/** Creates the user on first contact; concurrent requests with the same claims create one user. */
async function createOnFirstContact(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  claims: Claims,
): Promise<Sender> {
  const person = await deps.caches.newUsers.get(claimsKey(claims), () =>
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
  deps.caches.knownUsers.set(claimsKey(claims), {
    byToken: null,
    byIdentifier: claims.identifiers.map((by) => ({ ...person, by, openSession: null })),
  });
  return { user: person.user, authState: "identified", openSession: person.openSession };
}

export type Visit = {
  requestId: string;
  fingerprint: string;
  clientAddress: string;
  /** Identifiers the guest claims; stored in the user's metadata until their last conversation is deleted. */
  unverified: Record<string, unknown>;
};

/**
 * Creates a guest, or finds the guest a retry belongs to: with an unguessable request id the same request of the same day
 * is the same guest. Refuses (429) a new guest when the instance's rate is spent.
 */
export async function guestSender(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  channel: Channel,
  visit: Visit,
  permit: Permit | null = null,
): Promise<Sender> {
  const derived = await derivedGuestId(instance, channel, visit, deps.now());
  if (permit?.kind === "exhausted") {
    if (derived === null) throw rateLimited("instance", permit.retryAfterMs);
    // Their conversation answers a duplicate and refuses anything else.
    return { user: { id: derived, tier: "guest" }, authState: "guest", openSession: null };
  }
  const id = derived ?? uuidv7(deps.now());
  const guest = await deps.caches.newUsers.get(id, () =>
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
  return { user: guest.user, authState: "guest", openSession: guest.openSession };
}

/** A UUID, or 22 characters of the base64url alphabet: room for 128 random bits. */
const UNGUESSABLE = /^[A-Za-z0-9_-]{22,}$/;
const DAY_MS = 86_400_000;

/** null for a request id that a stranger could guess: its answer would hand them the guest's token. */
async function derivedGuestId(
  { id }: Instance,
  channel: Channel,
  { requestId, fingerprint, clientAddress }: Visit,
  now: number,
): Promise<string | null> {
  if (!UNGUESSABLE.test(requestId)) return null;
  const day = Math.floor(now / DAY_MS);
  return uuidOf(JSON.stringify(["guest", id, channel, day, requestId, fingerprint, clientAddress]));
}
