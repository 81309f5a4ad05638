import { DELIVERY_STATES } from "../../domain/delivery.ts";
import type { DeliveryError, DeliveryState, DeliveryStatus } from "../../domain/delivery.ts";
import type { ChannelEndpoint, ChannelIdentity } from "../../domain/inbound-message.ts";
import { truncate } from "../../domain/text.ts";
import { identitiesBeside, messageIdOf, phoneOf, userIdOf } from "./contact.ts";
import { number, record, records, text } from "./json.ts";
import type { Json } from "./json.ts";

/** A status of a message that was sent, and the recipient's identities it names. */
export type Status = { recipients: ChannelIdentity[]; business: ChannelEndpoint; status: DeliveryStatus };

/** The delivery states a status may have; null for any other. */
const stateOf = (status: unknown): DeliveryState | null =>
  DELIVERY_STATES.find((state) => state === status && state !== "queued" && state !== "unknown") ?? null;

/** Free-form messages are refused after the service window: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes */
const WINDOW_CLOSED_CODE = 131047;

/** Statuses of payments, orders and groups are not about the delivery of a message to a user. */
export function readStatus(item: Json, contacts: readonly Json[], business: ChannelEndpoint): Status | null {
  const id = messageIdOf(item.id);
  const state = stateOf(item.status);
  const type = text(item.type) ?? "message";
  if (id === null || state === null || type !== "message" || item.recipient_type === "group") return null;
  const named = { phone: phoneOf(item.recipient_id), userId: userIdOf(item.recipient_user_id) };
  const [contact, ...others] = contacts;
  const profile = contact === undefined || others.length > 0 ? null : contact;
  const beside = { phone: phoneOf(profile?.wa_id), userId: userIdOf(profile?.user_id) };
  const [error] = records(item.errors).map(readError);
  return {
    recipients: [...identitiesBeside({ phone: null, userId: null }, named), ...identitiesBeside(named, beside)],
    business,
    status: {
      id,
      reference: text(item.biz_opaque_callback_data),
      state,
      error: error ?? null,
      ...(error?.code === WINDOW_CLOSED_CODE ? { needsTemplate: true } : {}),
    },
  };
}

const MAX_REASON = 1_000;

/** Meta's error, of a status or an answer. Branch on the code: titles change. */
export function readError({ code, title, message, error_data }: Json): DeliveryError {
  const reason = text(record(error_data).details) ?? text(message) ?? text(title) ?? "No reason was given";
  return { code: number(code) ?? text(code) ?? "UNKNOWN", reason: truncate(reason, MAX_REASON) };
}
