import type { ChannelEndpoint, ChannelIdentity, InboundMessage } from "../../domain/inbound-message.ts";
import { sanitizeData } from "../../domain/sanitize.ts";
import { formatIso } from "../../domain/time.ts";
import { BUSINESS_SCOPED_ID, identitiesBeside, identity, phoneOf, profileOf, userIdOf } from "./contact.ts";
import type { Sender } from "./contact.ts";
import { record, text } from "./json.ts";
import type { Json } from "./json.ts";
import { timeOf } from "./message.ts";

/** The user a system message is about, and the identity they have from now on. */
export type IdentityNotice = Sender & { newIdentity: ChannelIdentity | null };

/**
 * Reads a notice that a user's number or id changed. The former identity is the sender, `previous_user_id`, or the end of
 * the sentence: the rest of it holds the user's own name. Without a former identity nothing is linked.
 */
export function readNotice({ system }: Json, sender: Sender | null): IdentityNotice | null {
  const { type, previous_user_id, body, wa_id, user_id } = record(system);
  const [phone, userId] = [phoneOf(wa_id), userIdOf(user_id)];
  const isNumber = type === "user_changed_number";
  const newIdentity = isNumber
    ? identity(phone, userId)
    : identity(null, type === "user_changed_user_id" ? userId : null);
  const previous = userIdOf(previous_user_id) ?? previousIdIn(text(body), userId);
  const former = identity(isNumber ? null : phone, previous);
  if (sender !== null) {
    const others = previous === null ? [] : identitiesBeside(sender.person, { phone: null, userId: previous });
    return { person: sender.person, otherIdentities: [...sender.otherIdentities, ...others], newIdentity };
  }
  if (previous !== null && former !== null) return { person: former, otherIdentities: [], newIdentity };
  const person = identity(phone, userId);
  return person && { person, otherIdentities: [], newIdentity: null };
}

/** The id before the new one at the end of "User <name> changed from OLD to NEW". */
function previousIdIn(body: string | null, current: string | null): string | null {
  const [, previous = "", next] = /(\S+) to (\S+)$/.exec(body ?? "") ?? [];
  return next === current && BUSINESS_SCOPED_ID.test(previous) ? previous : null;
}

/** A user's new business-scoped id. It has no message id; its ids make one, the same for every delivery. */
export function readIdUpdate(item: Json, business: ChannelEndpoint, receivedAt: number): InboundMessage | null {
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
    groupId: null,
    person,
    otherIdentities: [],
    business,
    newIdentity: { phone: null, userId },
    content: text(item.detail) ?? "[user_id_update]",
    sentAt,
    metadata: { whatsapp: { sent_at: formatIso(sentAt), person, kind: "system", system: "user_id_update" } },
  };
}

/** The user stopped or resumed marketing messages. It has no message id, so one is made of what identifies it. */
export function readPreference(
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
    groupId: null,
    person,
    otherIdentities: [],
    business,
    newIdentity: null,
    content: text(item.detail) ?? `[marketing messages: ${value}]`,
    sentAt,
    metadata: {
      whatsapp: { sent_at: formatIso(sentAt), person, kind: "preference", preference: sanitizeData(item) },
    },
    profile,
    marketing: value,
  };
}
