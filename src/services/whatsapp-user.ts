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

/** Somebody who writes to an instance on WhatsApp, and where their conversation is. */
export type WhatsAppContact = { instance: InstanceKey; address: string; person: ChannelIdentity };

/**
 * What a person goes by on WhatsApp, the phone number first. Refuses (400) a badly formed number, and nobody: one who has
 * neither a number nor an id.
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

/** Everybody who goes by either of the ids, of the instance's brand. At most one round trip, shared with what else is read. */
export async function findWhatsAppUsers(
  { read, caches }: Pick<Deps, "read" | "caches">,
  correspondent: WhatsAppContact,
): Promise<FoundUser[]> {
  const { instance, address, person } = correspondent;
  const identifiers = identifiersOf(person);
  const { byIdentifier } = await caches.knownUsers.get(contactKey(correspondent), async () => ({
    byToken: null,
    byIdentifier: await read(
      usersByIdentifiers({ instance, channel: "whatsapp", addressOf: () => address }, identifiers),
    ),
  }));
  return byIdentifier;
}

/**
 * The person: `owner`, whose conversation it is, if somebody has written here before; else who goes by the number, else by
 * the id. WhatsApp vouches for both, so both are theirs from now on. Nobody means first contact: the person is made, or
 * null when the instance takes no guests. Refuses (400) an instance without a brand.
 */
export async function resolveWhatsAppUser(
  deps: Pick<Deps, "db" | "caches" | "now" | "addresses">,
  instance: Instance,
  correspondent: WhatsAppContact,
  found: readonly FoundUser[],
  owner: string | null = null,
): Promise<Sender | null> {
  if (!instance.brandId) throw invalid("brand_id", "brand_id is required");
  const identifiers = identifiersOf(correspondent.person);
  const byPriority = identifiers.flatMap(({ type }) => found.find(({ by }) => by?.type === type) ?? []);
  const known = owner === null ? byPriority[0] : byPriority.find(({ user }) => user.id === owner);
  const newcomer = () =>
    instance.acceptGuestUsers ? createOnFirstContact(deps, instance, correspondent, identifiers) : null;
  if (known === undefined && owner === null) return newcomer();
  const user = known?.user ?? { id: owner ?? "", tier: tierFor(whatsapp) };
  const isTheirs = ({ type, value }: StoredIdentifier) =>
    found.some(({ by, user: { id } }) => by?.type === type && by.value === value && id === user.id);
  const missing = identifiers.filter((identifier) => !isTheirs(identifier));
  if (missing.length > 0) {
    const scope = { brandId: instance.brandId, channel: "whatsapp" } as const;
    const isThere = await moveIdentifiers(deps.db, scope, user.id, { to: missing, from: [] });
    if (!isThere) {
      // The conversation remembers somebody whom Postgres was made to forget.
      deps.caches.newUsers.invalidate();
      return newcomer();
    }
  }
  remember(deps, correspondent, user, identifiers);
  return { user, authState: "identified", openSession: known?.openSession ?? null };
}

/** What the person goes by from now on. A phone number that was given up may be somebody else's tomorrow. */
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
  correspondent: WhatsAppContact,
  identifiers: StoredIdentifier[],
): Promise<Sender> {
  const { user, openSession } = await deps.caches.newUsers.get(contactKey(correspondent), () =>
    createUser(deps.db, deps.addresses, {
      instanceId: instance.id,
      brandId: instance.brandId,
      channel: "whatsapp",
      user: { id: uuidv7(deps.now()), tier: tierFor(whatsapp) },
      identifiers,
      address: correspondent.address,
      metadata: {},
      now: deps.now(),
    }),
  );
  remember(deps, correspondent, user, identifiers);
  return { user, authState: "identified", openSession };
}

/** The open session is the object's from now on. */
function remember(
  { caches }: Pick<Deps, "caches">,
  correspondent: WhatsAppContact,
  user: FoundUser["user"],
  identifiers: readonly StoredIdentifier[],
): void {
  const byIdentifier = identifiers.map((by) => ({ user, by, openSession: null }));
  caches.knownUsers.set(contactKey(correspondent), { byToken: null, byIdentifier });
}
