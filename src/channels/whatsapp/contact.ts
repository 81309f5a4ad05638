import { PhoneE164 } from "../../domain/identity.ts";
import type { ChannelEndpoint, ChannelIdentity, ContactProfile } from "../../domain/inbound-message.ts";
import { truncate } from "../../domain/text.ts";
import { record, records, text } from "./json.ts";
import type { Json } from "./json.ts";

/** `US.13491208655302741918`, or `US.ENT.` and digits for a parent account. */
export const BUSINESS_SCOPED_ID = /^[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}$/;

/** The ids of fields that hold a user id are accepted in any alphabet without separators. */
const USER_ID = /^[A-Za-z0-9._-]{1,160}$/;

/** Message ids have about 60 characters. */
const MAX_ID = 512;

/** A message id is opaque. */
export function messageIdOf(value: unknown): string | null {
  const id = text(value);
  return id !== null && id.length <= MAX_ID ? id : null;
}

/** Digits with or without a plus, as E.164; null for anything else. */
export function phoneOf(value: unknown): string | null {
  const digits = text(value);
  const result = PhoneE164.safeParse(digits === null || digits.startsWith("+") ? digits : `+${digits}`);
  return result.success ? result.data : null;
}

export const userIdOf = (value: unknown): string | null => {
  const id = text(value);
  return id !== null && USER_ID.test(id) ? id : null;
};

/** The business's end of a change. `display_phone_number` comes in several spellings. */
export function endpointOf(metadata: unknown): ChannelEndpoint | null {
  const { display_phone_number, phone_number_id } = record(metadata);
  const endpoint = { number: phoneOf(display_phone_number), phoneNumberId: userIdOf(phone_number_id) };
  return endpoint.number === null && endpoint.phoneNumberId === null ? null : endpoint;
}

/**
 * The sender of a message, by its own ids and those of the matching contact of the same change; either id may be missing.
 * null without any id. When the change has one sender and one contact, the contact is the sender however it is spelled,
 * and its number is another identity of theirs.
 */
export function senderOf(message: Json, contacts: unknown, isOnlySender: boolean): Sender | null {
  const candidates = records(contacts).map(({ wa_id, user_id }) => ({
    phone: phoneOf(wa_id),
    userId: userIdOf(user_id),
  }));
  const named = { phone: phoneOf(message.from), userId: userIdOf(message.from_user_id) };
  const only = candidates.length === 1 && isOnlySender ? candidates[0] : undefined;
  const contact =
    candidates.find(
      ({ phone, userId }) =>
        (named.phone !== null && phone === named.phone) || (named.userId !== null && userId === named.userId),
    ) ?? only;
  const person = identity(named.phone ?? contact?.phone ?? null, named.userId ?? contact?.userId ?? null);
  if (person === null) return null;
  return { person, otherIdentities: contact === undefined ? [] : identitiesBeside(person, contact) };
}

const MAX_NAME = 256;

/** The names of the contact that is the sender, as the sender has chosen them; null when there are none. */
export function profileOf({ phone, userId }: ChannelIdentity, contacts: unknown): ContactProfile | null {
  const all = records(contacts);
  const isSender = ({ wa_id, user_id }: Json) =>
    (phone !== null && phoneOf(wa_id) === phone) || (userId !== null && userIdOf(user_id) === userId);
  const { name, username } = record((all.find(isSender) ?? (all.length === 1 ? all[0] : undefined))?.profile);
  const names = Object.entries({ name: text(name), username: text(username) }).flatMap(([key, value]) =>
    value === null ? [] : [[key, truncate(value, MAX_NAME)]],
  );
  return names.length === 0 ? null : (Object.fromEntries(names) as ContactProfile);
}

/** Each id of an identity that another one of the same contact does not have. */
export const identitiesBeside = (person: ChannelIdentity, { phone, userId }: ChannelIdentity): ChannelIdentity[] => [
  ...(phone === null || phone === person.phone ? [] : [{ phone, userId: null }]),
  ...(userId === null || userId === person.userId ? [] : [{ phone: null, userId }]),
];

/** The sender's identity, and others the change names for them. */
export type Sender = { person: ChannelIdentity; otherIdentities: ChannelIdentity[] };

/** An identity with at least one id, or null. */
export const identity = (phone: string | null, userId: string | null): ChannelIdentity | null =>
  phone === null && userId === null ? null : { phone, userId };
