import { whatsapp } from "../channels/whatsapp/channel.ts";
import { createUser } from "../db/user-create.ts";
import { moveIdentifiers, usersByIdentifiers } from "../db/users.ts";
import type { FoundUser } from "../db/users.ts";
import type { InstanceKey } from "../db/instances.ts";
import type { Deps } from "../deps.ts";
import { invalid } from "../domain/errors.ts";
import { uuidv7 } from "../domain/ids.ts";
import { tierFor, validateIdentifier } from "../domain/identity.ts";
import type { ChannelIdentity } from "../domain/inbound-message.ts";
import type { Instance } from "../domain/instance.ts";
import type { StoredIdentifier } from "../domain/user.ts";
import type { Sender } from "./identity.ts";

/** A WhatsApp contact of an instance, with the address of their conversation. */
export type WhatsAppContact = { instance: InstanceKey; address: string; person: ChannelIdentity };

/**
 * The identifiers of a contact, the phone number first. Refuses (400) a malformed number, and a contact with neither a
 * number nor an id.
 */
export function identifiersOf({ phone, userId }: ChannelIdentity): StoredIdentifier[] {
  const number = validateIdentifier("phone_e164", phone, { required: userId === null });
  return [
    ...(number === null ? [] : [{ type: "phone_e164" as const, value: number }]),
    ...(userId === null ? [] : [{ type: "whatsapp_user_id" as const, value: userId }]),
  ];
}

const contactKey = ({ instance, person }: WhatsAppContact): string =>
  JSON.stringify(["whatsapp", instance, person.phone, person.userId]);

/** Finds the brand's users with either id, in at most one round trip, shared with other reads of the same tick. */
export async function findWhatsAppUsers(
  { read, caches }: Pick<Deps, "read" | "caches">,
  contact: WhatsAppContact,
): Promise<FoundUser[]> {
  const { instance, address, person } = contact;
  const identifiers = identifiersOf(person);
  const { byIdentifier } = await caches.knownUsers.get(contactKey(contact), async () => ({
    byToken: null,
    byIdentifier: await read(
      usersByIdentifiers({ instance, channel: "whatsapp", addressOf: () => address }, identifiers),
    ),
  }));
  return byIdentifier;
}

/**
 * Resolves the sender: the conversation's `owner` if it has one, else the user with the number, else with the id. WhatsApp
 * has verified both, so both become the sender's. Creates a user on first contact; returns null when the instance accepts
 * no guests. Refuses (400) an instance without a brand.
 */
export async function resolveWhatsAppUser(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  contact: WhatsAppContact,
  found: readonly FoundUser[],
  owner: string | null = null,
): Promise<Sender | null> {
  if (!instance.brandId) throw invalid("brand_id", "brand_id is required");
  const identifiers = identifiersOf(contact.person);
  const byPriority = identifiers.flatMap(({ type }) => found.find(({ by }) => by?.type === type) ?? []);
  const known = owner === null ? byPriority[0] : byPriority.find(({ user }) => user.id === owner);
  const firstContact = () =>
    instance.acceptGuestUsers ? createOnFirstContact(deps, instance, contact, identifiers) : null;
  if (known === undefined && owner === null) return firstContact();
  const user = known?.user ?? { id: owner ?? "", tier: tierFor(whatsapp) };
  const isOwn = ({ type, value }: StoredIdentifier) =>
    found.some(({ by, user: { id } }) => by?.type === type && by.value === value && id === user.id);
  const missing = identifiers.filter((identifier) => !isOwn(identifier));
  if (missing.length > 0) {
    const scope = { brandId: instance.brandId, channel: "whatsapp" } as const;
    const exists = await moveIdentifiers(deps.db, scope, user.id, { to: missing, from: [] });
    if (!exists) {
      // The conversation's owner was deleted from Postgres.
      deps.caches.newUsers.invalidate();
      return firstContact();
    }
  }
  remember(deps, contact, user, identifiers);
  return { user, authState: "identified", openSession: known?.openSession ?? null };
}

/** Replaces a user's identifiers. A released phone number may belong to another user later, so it is removed. */
export async function renameWhatsAppUser(
  deps: Pick<Deps, "db" | "caches">,
  instance: Instance,
  userId: string,
  change: { was: ChannelIdentity; newIdentity: ChannelIdentity },
): Promise<void> {
  const { was, newIdentity } = change;
  await moveIdentifiers(deps.db, { brandId: instance.brandId, channel: "whatsapp" }, userId, {
    to: identifiersOf(newIdentity),
    from: newIdentity.phone === null ? [] : identifiersOf(was),
  });
  deps.caches.knownUsers.invalidate();
  deps.caches.newUsers.invalidate();
}

async function createOnFirstContact(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  contact: WhatsAppContact,
  identifiers: StoredIdentifier[],
): Promise<Sender> {
  const { user, openSession } = await deps.caches.newUsers.get(contactKey(contact), () =>
    createUser(deps.db, deps.addresses, {
      instanceId: instance.id,
      brandId: instance.brandId,
      channel: "whatsapp",
      user: { id: uuidv7(deps.now()), tier: tierFor(whatsapp) },
      identifiers,
      address: contact.address,
      metadata: {},
      now: deps.now(),
    }),
  );
  remember(deps, contact, user, identifiers);
  return { user, authState: "identified", openSession };
}

/** Caches the user without their open session, which the object keeps from now on. */
function remember(
  { caches }: Pick<Deps, "caches">,
  contact: WhatsAppContact,
  user: FoundUser["user"],
  identifiers: readonly StoredIdentifier[],
): void {
  const byIdentifier = identifiers.map((by) => ({ user, by, openSession: null }));
  caches.knownUsers.set(contactKey(contact), { byToken: null, byIdentifier });
}
