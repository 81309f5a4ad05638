import type { ChannelEndpoint, InboundMessage } from "../../domain/inbound-message.ts";
import { endpointOf, identity, messageIdOf, phoneOf, profileOf, senderOf, userIdOf } from "./contact.ts";
import type { Sender } from "./contact.ts";
import { readContent } from "./content.ts";
import { record, records, text } from "./json.ts";
import type { Json } from "./json.ts";
import { readMessage } from "./message.ts";
import { readIdUpdate, readNotice, readPreference } from "./notice.ts";
import { readStatus } from "./status.ts";
import type { Status } from "./status.ts";

/** Something that is not processed, by kind and type: never with what a user said. */
export type Skipped = {
  what: string;
  type: string | null;
  /** All of an event about the business's account, which holds no words of users. */
  value?: Json;
};

export type WhatsAppWebhook = { messages: InboundMessage[]; statuses: Status[]; skipped: Skipped[] };

/**
 * Reads a notification of the WhatsApp Cloud API: every item of every change, whatever its neighbours are like. Nothing is
 * refused; what is not processed is listed in `skipped`.
 * https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
 */
export function readWebhook(payload: unknown, receivedAt: number): WhatsAppWebhook {
  const { object, entry } = record(payload);
  const changes =
    object === "whatsapp_business_account" ? records(entry).flatMap(({ changes }) => records(changes)) : [];
  const read = changes.map((change) => readChange(change, receivedAt));
  if (read.length === 0) read.push(nothingBut("notification", text(object)));
  return {
    messages: read.flatMap(({ messages }) => messages),
    statuses: read.flatMap(({ statuses }) => statuses),
    skipped: read.flatMap(({ skipped }) => skipped),
  };
}

const nothingBut = (what: string, type: string | null, value?: Json): WhatsAppWebhook => ({
  messages: [],
  statuses: [],
  skipped: [{ what, type, ...(value && { value }) }],
});

type Change = { value: Json; business: ChannelEndpoint; receivedAt: number };

/** The fields that are processed. Others may hold messages too, as `history` does: of other times, or not to us. */
const FIELDS: Record<string, (change: Change) => WhatsAppWebhook> = {
  messages: readMessages,
  smb_message_echoes: readEchoes,
  user_id_update: readIdUpdates,
  user_preferences: readPreferences,
};

function readChange({ field, value }: Json, receivedAt: number): WhatsAppWebhook {
  if (field === "account_update") return nothingBut("change", field, record(value));
  const name = text(field) ?? "";
  const business = endpointOf(record(value).metadata);
  const read = Object.hasOwn(FIELDS, name) ? FIELDS[name] : undefined;
  if (read === undefined || business === null) return nothingBut("change", text(field));
  const found = read({ value: record(value), business, receivedAt });
  const isEmpty = [found.messages, found.statuses, found.skipped].every((list) => list.length === 0);
  return isEmpty ? nothingBut("change", text(field)) : found;
}

function readMessages({ value, business, receivedAt }: Change): WhatsAppWebhook {
  const { contacts, messages, statuses, errors } = value;
  const found: WhatsAppWebhook = { messages: [], statuses: [], skipped: [] };
  const items = records(messages);
  const senders = new Set(items.map(({ from, from_user_id }) => text(from) ?? text(from_user_id)));
  for (const item of items) {
    // A message that could not be delivered to us has no content, and its error may stand beside it.
    const beside = item.errors === undefined && readContent(item).kind === "unsupported" ? { errors } : {};
    const sender = senderOf(item, contacts, senders.size === 1);
    const result = message({ ...beside, ...item }, sender, { contacts, business, receivedAt });
    if (typeof result === "string") found.skipped.push({ what: result, type: text(item.type) });
    else found.messages.push(result);
  }
  for (const item of records(statuses)) {
    const result = readStatus(item, records(contacts), business);
    if (result === null) found.skipped.push({ what: "status", type: text(item.type) ?? text(item.status) });
    else found.statuses.push(result);
  }
  for (const { code } of records(errors)) found.skipped.push({ what: "error", type: text(code) });
  return found;
}

/** The message, or as what it is skipped. The business's own number is never a user. */
function message(
  item: Json,
  sender: Sender | null,
  { contacts, business, receivedAt }: Omit<Change, "value"> & { contacts: unknown },
): InboundMessage | "message" | "own_message" {
  const notice = item.type === "system" ? readNotice(item, sender) : null;
  const subject = notice ?? sender;
  const id = messageIdOf(item.id);
  if (subject === null || id === null) return "message";
  if (subject.person.phone !== null && subject.person.phone === business.number) return "own_message";
  const profile = profileOf(subject.person, contacts);
  const read = readMessage(item, { ...subject, id, business, receivedAt, profile });
  return { ...read, newIdentity: notice?.newIdentity ?? null };
}

/** Messages the business wrote in the WhatsApp app on its phone. */
function readEchoes({ value, business, receivedAt }: Change): WhatsAppWebhook {
  const found: WhatsAppWebhook = { messages: [], statuses: [], skipped: [] };
  for (const item of records(value.message_echoes)) {
    const person = identity(phoneOf(item.to), userIdOf(item.to_user_id));
    const id = messageIdOf(item.id);
    if (person === null || id === null) found.skipped.push({ what: "echo", type: text(item.type) });
    else {
      const read = readMessage(item, { id, person, otherIdentities: [], business, receivedAt });
      found.messages.push({ ...read, role: "assistant" });
    }
  }
  return found;
}

function readIdUpdates({ value, business, receivedAt }: Change): WhatsAppWebhook {
  const found: WhatsAppWebhook = { messages: [], statuses: [], skipped: [] };
  for (const item of records(value.user_id_update)) {
    const result = readIdUpdate(item, business, receivedAt);
    if (result === null) found.skipped.push({ what: "user_id_update", type: null });
    else found.messages.push(result);
  }
  return found;
}

function readPreferences({ value, business, receivedAt }: Change): WhatsAppWebhook {
  const found: WhatsAppWebhook = { messages: [], statuses: [], skipped: [] };
  for (const item of records(value.user_preferences)) {
    const result = readPreference(item, value.contacts, business, receivedAt);
    if (result === null) found.skipped.push({ what: "user_preferences", type: null });
    else found.messages.push(result);
  }
  return found;
}
