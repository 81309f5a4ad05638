import { hex, hmacSha256Sync } from "./crypto.ts";
import type { ChannelEndpoint, ChannelIdentity } from "./inbound-message.ts";
import { canonicalNumber } from "./phone-number.ts";

/**
 * The addresses of conversations: an address is the name of the Conversation object that decides for it. All of them are
 * made here, with the deploy's `ADDRESS_KEY`, from values that are known before any query.
 */
export type Addresses = {
  /** A user's chat with an instance. */
  chat: (instanceId: string, userId: string) => string;
  /** A conversation that `start` began. The same key is the same conversation. */
  started: (instanceId: string, key: string) => string;
  /**
   * The messages between a WhatsApp user and a business. The business's phone number id counts before its display number,
   * which a webhook may leave out; a user is addressed by their phone number, else by their business-scoped id. A user
   * with two ids has two addresses, and one of them forwards to the other (`forwardsTo`).
   */
  whatsapp: (business: ChannelEndpoint, person: ChannelIdentity) => string;
  /** The id of the first session at an address: two callers that begin it at once make the same one. */
  firstSessionId: (address: string) => string;
};

/** An address is made of a phone number, or of a channel's id of a contact. */
export type AddressKind = "number" | "id";

/** Another address of a contact. `kind` is null where it is not known. */
export type Alias = { address: string; kind: AddressKind | null };

const ADDRESS = /^[0-9a-f]{22}$/;
const SESSION_ID = /^[0-9a-f]{8}-([0-9a-f]{4})-8([0-9a-f]{3})-b([0-9a-f]{3})-([0-9a-f]{12})$/;

/**
 * An address is the first 88 bits of an HMAC-SHA-256, in hex: short enough to be part of the id of every session that
 * begins there. So the id alone tells where its conversation lives, also while Postgres has no row of it. Without the key
 * neither can be computed from a phone number or a user's id. (Two of a billion conversations share an address with a
 * probability of 2e-9; the object refuses the second as it refuses anyone who is not its owner.)
 */
export function createAddresses(key: string): Addresses {
  const addressOf = (kind: string, ...parts: string[]): string =>
    hmacSha256Sync(key, JSON.stringify([kind, ...parts])).slice(0, 22);
  return {
    chat: (instanceId, userId) => addressOf("chat", instanceId, userId),
    started: (instanceId, startKey) => addressOf("start", instanceId, startKey),
    whatsapp: (business, person) => {
      const to = business.phoneNumberId ?? business.number;
      const from = person.phone === null ? person.userId : canonicalNumber(person.phone);
      if (to === null || from === null) throw new Error("An address has two ends");
      return addressOf("whatsapp", to, from);
    },
    firstSessionId: (address) =>
      sessionIdAt(address, Number.parseInt(hmacSha256Sync(key, JSON.stringify(["first", address])).slice(0, 8), 16)),
  };
}

/** The addresses of each id of these identities. */
export const aliasesOf = (
  addresses: Addresses,
  business: ChannelEndpoint,
  identities: readonly ChannelIdentity[],
): Alias[] =>
  identities.flatMap(({ phone, userId }) => [
    ...(phone === null
      ? []
      : [{ address: addresses.whatsapp(business, { phone, userId: null }), kind: "number" as const }]),
    ...(userId === null
      ? []
      : [{ address: addresses.whatsapp(business, { phone: null, userId }), kind: "id" as const }]),
  ]);

/** The id of a session: a UUID (version 8) of a 32-bit number and the address. */
export function sessionIdAt(name: string, number: number): string {
  const address = ADDRESS.test(name) ? name : hmacSha256Sync("", name).slice(0, 22);
  const first = number.toString(16).padStart(8, "0");
  return `${first}-${address.slice(0, 4)}-8${address.slice(4, 7)}-b${address.slice(7, 10)}-${address.slice(10)}`;
}

/** A random address, for a conversation that is reached only through a forwarding address. */
export const newAddress = (): string => hex(crypto.getRandomValues(new Uint8Array(11)));

/** The id of a later session at an address. Random, so that the id of one session tells nothing of the next one's. */
export const newSessionId = (address: string): string =>
  sessionIdAt(address, crypto.getRandomValues(new Uint32Array(1))[0] ?? 0);

/** The address in a session's id; null for an id that was not made by `sessionIdAt`. */
export const addressOfSession = (sessionId: string): string | null =>
  SESSION_ID.exec(sessionId)?.slice(1).join("") ?? null;
