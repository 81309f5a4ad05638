import type { ChannelEndpoint, ChannelIdentity, InboundMessage } from "../../domain/inbound-message.ts";
import { MAX_CONTENT } from "../../domain/message.ts";
import { fitMetadata, sanitizeData } from "../../domain/sanitize.ts";
import { truncate } from "../../domain/text.ts";
import { formatIso } from "../../domain/time.ts";
import { readContextFields, readContent } from "./content.ts";
import { record, text } from "./json.ts";
import type { Json } from "./json.ts";
import { identity, phoneOf, userIdOf } from "./contact.ts";

/** Room for the rest of a message's metadata is left: 64 KB is what a message may have. */
const MAX_WHATSAPP_BYTES = 48 * 1024;
const LIMITS = { maxItems: 1_000, maxList: 1_000 };

/** Whole seconds, as text. What is no time is `otherwise`. */
export function timeOf(timestamp: unknown, otherwise: number): number {
  const seconds = Number(text(timestamp) ?? Number.NaN);
  const ms = seconds * 1000;
  return Number.isFinite(ms) && ms > 0 && ms < 8.64e15 ? ms : otherwise;
}

/** The metadata of a message: what was read of it, and the message as it came, cleaned and cut to what Postgres takes. */
export function describe(message: Json): {
  kind: InboundMessage["kind"];
  content: string;
  details: Record<string, unknown>;
} {
  const { kind, content, details } = readContent(message);
  const told = sanitizeData({ kind, ...details, ...readContextFields(message), raw: message }, LIMITS);
  return { kind, content, details: fitMetadata(told, MAX_WHATSAPP_BYTES).value };
}

type Circumstances = { id: string; person: ChannelIdentity; business: ChannelEndpoint; receivedAt: number };

/** A message of a person, normalised. */
export function readMessage(message: Json, { id, person, business, receivedAt }: Circumstances): InboundMessage {
  const { kind, content, details } = describe(message);
  const sentAt = timeOf(message.timestamp, receivedAt);
  const profile = { sent_at: formatIso(sentAt), person };
  return {
    id,
    channel: "whatsapp",
    kind,
    role: "user",
    person,
    business,
    became: kind === "system" ? successorOf(record(message.system)) : null,
    // More than WhatsApp lets anybody write: a list or a form without end.
    content: truncate(content, MAX_CONTENT),
    sentAt,
    metadata: { whatsapp: { ...profile, ...details } },
  };
}

/** System messages carry the new ids only; the old ones are the sender's. */
function successorOf({ type, wa_id, user_id }: Json): ChannelIdentity | null {
  if (type === "user_changed_number") return identity(phoneOf(wa_id), userIdOf(user_id));
  return type === "user_changed_user_id" ? identity(null, userIdOf(user_id)) : null;
}

const BODY_IDS = /\bfrom (\S+) to (\S+)/;

/** Who a system message is about when it has no sender: the old id stands in it, or only in its sentence. */
export function subjectOf(message: Json): ChannelIdentity | null {
  const { previous_user_id, body, wa_id, user_id } = record(message.system);
  const [, before] = BODY_IDS.exec(text(body) ?? "") ?? [];
  const previous = userIdOf(previous_user_id) ?? (phoneOf(before) === null ? userIdOf(before) : null);
  return identity(phoneOf(before) ?? phoneOf(wa_id), previous ?? userIdOf(user_id));
}
