import { PhoneE164 } from "../../domain/identity.ts";
import type { ChannelEndpoint, ChannelIdentity, ContactProfile } from "../../domain/inbound-message.ts";
import { truncate } from "../../domain/text.ts";
import { record, records, text } from "./json.ts";
import type { Json } from "./json.ts";

/** `CC.` and letters and digits; taken as anything that can't be mistaken for something else. */
const USER_ID = /^[A-Za-z0-9._-]{1,160}$/;

/** The longest id of a message that is taken for one; they have some 60 characters. */
const MAX_ID = 512;

/** A message's id, whatever it looks like. */
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

/** Whose number it is that was written to. `display_phone_number` comes in several spellings. */
export function endpointOf(metadata: unknown): ChannelEndpoint | null {
  const { display_phone_number, phone_number_id } = record(metadata);
  const endpoint = { number: phoneOf(display_phone_number), phoneNumberId: userIdOf(phone_number_id) };
  return endpoint.number === null && endpoint.phoneNumberId === null ? null : endpoint;
}

/**
 * Who sent a message: what it says itself, and what the matching contact of the same change adds. Either id may be left
 * out. null when there is neither.
 */
export function senderOf(message: Json, contacts: unknown): ChannelIdentity | null {
  const candidates = records(contacts).map(({ wa_id, user_id }) => ({
    phone: phoneOf(wa_id),
    userId: userIdOf(user_id),
  }));
  const said = { phone: phoneOf(message.from), userId: userIdOf(message.from_user_id) };
  const nobody = said.phone === null && said.userId === null;
  const contact = candidates.find(({ phone, userId }) =>
    nobody
      ? candidates.length === 1
      : (said.phone !== null && phone === said.phone) || (said.userId !== null && userId === said.userId),
  );
  return identity(said.phone ?? contact?.phone ?? null, said.userId ?? contact?.userId ?? null);
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

/** An identity with at least one id, or null. */
export const identity = (phone: string | null, userId: string | null): ChannelIdentity | null =>
  phone === null && userId === null ? null : { phone, userId };
