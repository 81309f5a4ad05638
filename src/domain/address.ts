import { createHash } from "node:crypto";
import type { ChannelEndpoint, ChannelIdentity } from "./inbound-message.ts";
import { canonicalNumber } from "./phone-number.ts";

/**
 * The address of a conversation: the name of the object that decides for it. All of them are made here, from what is
 * known before any query.
 *
 * An address is the first 88 bits of a SHA-256, in hex: short enough to stand inside the id of every session that begins
 * there. So the id alone tells where its conversation lives, also while Postgres hasn't heard of it; and neither a log
 * nor a queue holds a phone number because it holds an address. (By chance two of a billion conversations share an
 * address with a probability of 2e-9; the second would be refused by the object, as anybody who is not its owner.)
 */
const addressOf = (whose: string): string => createHash("sha256").update(whose).digest("hex").slice(0, 22);

/** A person's chat with an instance. `db/identities.ts` makes the same in SQL. */
export const chatAddress = (instanceId: string, userId: string): string => addressOf(`${instanceId}:${userId}`);

/** A conversation that was begun by itself (`start`). The same key is the same conversation. */
export const startedAddress = (instanceId: string, key: string): string => addressOf(`start:${instanceId}:${key}`);

/**
 * The messages between a WhatsApp user and a business. The business's phone number id counts before its display number,
 * which a webhook may leave out; a user is addressed by their phone number, else by their business-scoped id. A user with
 * two ids has two addresses, and one of them forwards to the other (`forwardsTo`).
 */
export function whatsappAddress(business: ChannelEndpoint, person: ChannelIdentity): string {
  const to = business.phoneNumberId ?? business.number;
  const from = person.phone === null ? person.userId : canonicalNumber(person.phone);
  if (to === null || from === null) throw new Error("An address has two ends");
  return addressOf(`wa:${to}:${from}`);
}

const ADDRESS = /^[0-9a-f]{22}$/;
const SESSION_ID = /^[0-9a-f]{8}-([0-9a-f]{4})-8([0-9a-f]{3})-b([0-9a-f]{3})-([0-9a-f]{12})$/;

/**
 * The id of a session that begins at an address: a UUID (version 8) of a number, 32 bits, and the address. The number is
 * the second in which the session began, so ids sort by time; 0 for a first session, which two callers may make at once.
 */
export function sessionIdAt(name: string, number: number): string {
  const address = ADDRESS.test(name) ? name : addressOf(name);
  const second = number.toString(16).padStart(8, "0");
  return `${second}-${address.slice(0, 4)}-8${address.slice(4, 7)}-b${address.slice(7, 10)}-${address.slice(10)}`;
}

/** The number of a session's id (`sessionIdAt`). */
export const numberOfSession = (sessionId: string): number => Number.parseInt(sessionId.slice(0, 8), 16);

/** Where a session lives, told by its id alone; null for an id that was not made by `sessionIdAt`. */
export const addressOfSession = (sessionId: string): string | null =>
  SESSION_ID.exec(sessionId)?.slice(1).join("") ?? null;
