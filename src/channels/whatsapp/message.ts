import type { ChannelEndpoint, ContactProfile, InboundMessage } from "../../domain/inbound-message.ts";
import { MAX_CONTENT } from "../../domain/message.ts";
import { fitMetadata, sanitizeData } from "../../domain/sanitize.ts";
import { truncate } from "../../domain/text.ts";
import { isRecord } from "../../domain/json.ts";
import { formatIso } from "../../domain/time.ts";
import { readContextFields, readContent } from "./content.ts";
import { text } from "./json.ts";
import type { Json } from "./json.ts";
import { messageIdOf } from "./contact.ts";
import type { Sender } from "./contact.ts";

/** Room for the rest of a message's metadata is left: 64 KB is what a message may have. */
const MAX_WHATSAPP_BYTES = 48 * 1024;
/** A flow's token names the flow's session; it opens nothing. */
const LIMITS = { maxItems: 1_000, maxList: 1_000, allowed: ["form.token"] };

/** Larger numbers are milliseconds, as some relays send them: as seconds they would be the year 5138. */
const MAX_SECONDS = 1e11;

/**
 * Epoch milliseconds of a timestamp, which Meta sends as text in whole seconds. Never later than the receipt, which also
 * stands for an invalid timestamp.
 */
export function timeOf(timestamp: unknown, receivedAt: number): number {
  const value = Number(text(timestamp) ?? Number.NaN);
  const ms = value < MAX_SECONDS ? value * 1000 : value;
  return Number.isFinite(ms) && ms > 0 ? Math.min(Math.trunc(ms), receivedAt) : receivedAt;
}

export type Description = {
  kind: InboundMessage["kind"];
  content: string;
  /** What was read of the message, and the message as it came: cleaned and cut at a size that Postgres takes. */
  details: Record<string, unknown>;
  /** `{attachments}` of a message with files, else empty. */
  files: Record<string, unknown>;
};

export function describe(message: Json): Description {
  const { kind, content, details, attachments } = readContent(message);
  const told = sanitizeData({ kind, ...details, ...readContextFields(message), raw: message }, LIMITS);
  return {
    kind,
    content,
    details: fitMetadata(told, MAX_WHATSAPP_BYTES).value,
    files: attachments === undefined ? {} : sanitizeData({ attachments }),
  };
}

type Circumstances = Sender & {
  id: string;
  business: ChannelEndpoint;
  receivedAt: number;
  profile?: ContactProfile | null;
};

/** Kinds that are notices of the channel about the user, not the user's words. */
const NOTICES: readonly InboundMessage["kind"][] = ["system", "welcome"];

/** A message with its sender, normalised. */
export function readMessage(
  message: Json,
  { id, person, otherIdentities, business, receivedAt, profile }: Circumstances,
): InboundMessage {
  const { kind, content, details, files } = describe(message);
  const sentAt = timeOf(message.timestamp, receivedAt);
  // More than WhatsApp lets a user write: a list or a form without end.
  const words = truncate(content, MAX_CONTENT);
  const metadata = {
    ...files,
    ...(words === content ? {} : { truncated: true }),
    whatsapp: { sent_at: formatIso(sentAt), person, ...(profile && { profile }), ...details },
  };
  return {
    id,
    channel: "whatsapp",
    kind,
    role: NOTICES.includes(kind) ? "system" : "user",
    groupId: text(message.group_id),
    person,
    otherIdentities,
    business,
    newIdentity: null,
    content: words,
    sentAt,
    metadata,
    amends: amendmentOf(details, words, files),
    replyTo: typeof details.reply_to === "string" ? details.reply_to : null,
    profile: profile ?? null,
  };
}

/** What an edit or a revocation changes of the message it names; null for any other message. */
function amendmentOf(
  { edits, edited_kind: kind, revokes, media, raw, ...details }: Description["details"],
  content: string,
  files: Description["files"],
): NonNullable<InboundMessage["amends"]> | null {
  const target = messageIdOf(edits ?? revokes);
  if (target === null) return null;
  if (edits === undefined) return { target, edit: null };
  // An edited caption may come without the file, which stays.
  const file = isRecord(media) && media.id !== undefined ? { media } : {};
  return { target, edit: { content, metadata: { ...files, whatsapp: { ...details, ...file, kind, raw } } } };
}
