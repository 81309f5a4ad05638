import { DELIVERY_STATES } from "../../domain/delivery.ts";
import type { DeliveryError, DeliveryStatus, DeliveryState } from "../../domain/delivery.ts";
import type { ChannelEndpoint, ChannelIdentity, InboundMessage } from "../../domain/inbound-message.ts";
import { sanitizeData } from "../../domain/sanitize.ts";
import { truncate } from "../../domain/text.ts";
import { formatIso } from "../../domain/time.ts";
import { readContent } from "./content.ts";
import { number, record, records, text } from "./json.ts";
import type { Json } from "./json.ts";
import { readMessage, subjectOf, timeOf } from "./message.ts";
import { endpointOf, identity, messageIdOf, phoneOf, profileOf, senderOf, userIdOf } from "./contact.ts";

/** A status of a message we sent, and whom it was sent to. */
export type Status = { person: ChannelIdentity; business: ChannelEndpoint; status: DeliveryStatus };

/** Something nothing was made of, told so that it can be logged: never with what somebody said. */
export type Skipped = {
  what: string;
  type: string | null;
  /** All of an event about the business's account, which holds no words of users. */
  value?: Json;
};

export type WhatsAppWebhook = { messages: InboundMessage[]; statuses: Status[]; skipped: Skipped[] };

/**
 * Reads a notification of the WhatsApp Cloud API: every entry, every change, every message, echo, status and change of an
 * id in it, whatever its neighbours are like. Nothing is refused; what is not understood is passed over and told.
 * https://developers.facebook.com/documentation/business-messaging/whatsapp/webhooks/overview
 */
export function readWebhook(payload: unknown, receivedAt: number): WhatsAppWebhook {
  const changes = records(record(payload).entry).flatMap(({ changes }) => records(changes));
  const read = changes.map((change) => readChange(change, receivedAt));
  if (read.length === 0) read.push(nothingBut("notification", null));
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

function readChange({ field, value }: Json, receivedAt: number): WhatsAppWebhook {
  if (field === "account_update") return nothingBut("change", field, record(value));
  const { metadata, contacts, messages, message_echoes, statuses, user_id_update, errors } = record(value);
  const { user_preferences } = record(value);
  const business = endpointOf(metadata);
  const items = [messages, message_echoes, statuses, user_id_update, user_preferences].flatMap((list) => records(list));
  if (business === null || (items.length === 0 && !Array.isArray(errors))) return nothingBut("change", text(field));
  const found: WhatsAppWebhook = { messages: [], statuses: [], skipped: [] };
  const keep = (what: string, item: Json, result: InboundMessage | null) => {
    if (result === null) found.skipped.push({ what, type: text(item.type) });
    else found.messages.push(result);
  };
  for (const item of records(messages)) {
    // What couldn't be delivered to us comes without its content, and the error may stand beside it.
    const beside = item.errors === undefined && readContent(item).kind === "unsupported" ? { errors } : {};
    keep("message", item, message({ ...beside, ...item }, contacts, business, receivedAt));
  }
  for (const item of records(message_echoes)) keep("echo", item, echo(item, business, receivedAt));
  for (const item of records(user_id_update)) keep("user_id_update", item, idUpdate(item, business, receivedAt));
  for (const item of records(user_preferences)) {
    keep("user_preferences", item, preference(item, contacts, business, receivedAt));
  }
  for (const item of records(statuses)) {
    const news = status(item, business);
    if (news === null) found.skipped.push({ what: "status", type: text(item.status) });
    else found.statuses.push(news);
  }
  for (const { code } of records(errors)) found.skipped.push({ what: "error", type: text(code) });
  return found;
}

function message(item: Json, contacts: unknown, business: ChannelEndpoint, receivedAt: number): InboundMessage | null {
  const person = senderOf(item, contacts) ?? subjectOf(item);
  const id = messageIdOf(item.id);
  if (person === null || id === null) return null;
  return readMessage(item, { id, person, business, receivedAt, profile: profileOf(person, contacts) });
}

/** What the business itself wrote in its app on the phone. */
function echo(item: Json, business: ChannelEndpoint, receivedAt: number): InboundMessage | null {
  const person = identity(phoneOf(item.to), userIdOf(item.to_user_id));
  const id = messageIdOf(item.id);
  if (person === null || id === null) return null;
  return { ...readMessage(item, { id, person, business, receivedAt }), role: "assistant", became: null };
}

/** A new business-scoped id of somebody. It has no message id, but it is the same however often it comes. */
function idUpdate(item: Json, business: ChannelEndpoint, receivedAt: number): InboundMessage | null {
  const { previous, current } = record(item.user_id);
  const person = identity(phoneOf(item.wa_id), userIdOf(previous));
  const userId = userIdOf(current);
  if (person === null || userId === null) return null;
  const sentAt = timeOf(item.timestamp, receivedAt);
  return {
    id: `user_id_update:${text(previous) ?? ""}:${userId}`,
    channel: "whatsapp",
    kind: "system",
    role: "system",
    person,
    business,
    became: { phone: null, userId },
    content: text(item.detail) ?? "[user_id_update]",
    sentAt,
    metadata: { whatsapp: { sent_at: formatIso(sentAt), person, kind: "system", system: "user_id_update" } },
  };
}

/** The user stopped or resumed marketing messages. It has no message id, so one is made of what identifies it. */
function preference(
  item: Json,
  contacts: unknown,
  business: ChannelEndpoint,
  receivedAt: number,
): InboundMessage | null {
  const person = identity(phoneOf(item.wa_id), userIdOf(item.user_id));
  const value = text(item.value);
  if (person === null || text(item.category) !== "marketing_messages" || (value !== "stop" && value !== "resume")) {
    return null;
  }
  const sentAt = timeOf(item.timestamp, receivedAt);
  const profile = profileOf(person, contacts);
  return {
    id: `user_preferences:${person.phone ?? person.userId ?? ""}:${value}:${text(item.timestamp) ?? ""}`,
    channel: "whatsapp",
    kind: "preference",
    role: "system",
    person,
    business,
    became: null,
    content: text(item.detail) ?? `[marketing messages: ${value}]`,
    sentAt,
    metadata: {
      whatsapp: { sent_at: formatIso(sentAt), person, kind: "preference", preference: sanitizeData(item) },
    },
    profile,
    marketing: value,
  };
}

/** `sent` and what comes after it; anything else is no state of ours. */
const stateOf = (status: unknown): DeliveryState | null =>
  DELIVERY_STATES.find((state) => state === status && state !== "queued" && state !== "unknown") ?? null;

function status(item: Json, business: ChannelEndpoint): Status | null {
  const person = identity(phoneOf(item.recipient_id), userIdOf(item.recipient_user_id));
  const id = messageIdOf(item.id);
  const state = stateOf(item.status);
  if (person === null || id === null || state === null) return null;
  const [error] = records(item.errors).map(readError);
  return {
    person,
    business,
    status: { id, reference: text(item.biz_opaque_callback_data), state, error: error ?? null },
  };
}

const MAX_REASON = 1_000;

/** Meta's error, of a status or an answer. Branch on the code: titles change. */
export function readError({ code, title, message, error_data }: Json): DeliveryError {
  const reason = text(record(error_data).details) ?? text(message) ?? text(title) ?? "No reason was given";
  return { code: number(code) ?? text(code) ?? "UNKNOWN", reason: truncate(reason, MAX_REASON) };
}
