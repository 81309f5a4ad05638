import type { ChannelIdentity } from "../../domain/inbound-message.ts";
import type { WhatsAppTemplate } from "../../domain/instance.ts";
import { records, text as readText } from "./json.ts";

/** The most one text message may hold, in UTF-16 units. */
export const MAX_TEXT = 4_096;

/** Customer service window: free-form messages are allowed for this long after the user's last message. */
export const SERVICE_WINDOW_MS = 24 * 3_600_000;

/** Lookahead beyond the limit, so that a sentence that crosses it is recognised as unfinished. */
const LOOKAHEAD = 256;

const sentences = new Intl.Segmenter("en", { granularity: "sentence" });
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/**
 * Splits a text into parts of at most `max` UTF-16 units, after a sentence if possible, else between words, else between
 * graphemes. Only white space at the cuts is removed.
 */
export function splitText(text: string, max: number = MAX_TEXT): string[] {
  const parts: string[] = [];
  let rest = text.trim();
  while (rest.length > max) {
    const cut = cutOf(rest.slice(0, max + LOOKAHEAD), max);
    parts.push(rest.slice(0, cut).trimEnd());
    rest = rest.slice(cut).trimStart();
  }
  return rest === "" ? parts : [...parts, rest];
}

function cutOf(text: string, max: number): number {
  const within = ({ index }: { index: number }) => index > 0 && index <= max;
  const sentence = [...sentences.segment(text)].findLast(within)?.index ?? 0;
  if (sentence > max / 2) return sentence;
  const word = /.*\s/su.exec(text.slice(0, max + 1))?.[0].length ?? 0;
  if (word > max / 2) return Math.min(word, max);
  return Math.max(sentence, [...graphemes.segment(text)].findLast(within)?.index ?? max);
}

/** The recipient, and the reference that statuses return (`biz_opaque_callback_data`). */
type Envelope = { person: ChannelIdentity; reference: string };

/** https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages */
export const textRequest = (envelope: Envelope, body: string, replyTo: string | null) => ({
  ...addressed(envelope),
  ...(replyTo === null ? {} : { context: { message_id: replyTo } }),
  type: "text",
  text: { preview_url: false, body },
});

/** The only request that is accepted outside the customer service window. */
export const templateRequest = (envelope: Envelope, { name, language, components }: WhatsAppTemplate) => ({
  ...addressed(envelope),
  type: "template",
  template: { name, language: { code: language }, ...(components === undefined ? {} : { components }) },
});

/**
 * The template as it stands in the history: its text with the parameters of its body, or its name and parameters when the
 * instance does not state the text.
 */
export function templateText({ name, components, text }: WhatsAppTemplate): string {
  const body = records(components).find(({ type }) => String(type).toLowerCase() === "body");
  const values = records(body?.parameters).map((parameter) => readText(parameter.text) ?? "");
  if (typeof text !== "string" || text.trim() === "") {
    return `[template: ${[name, ...values].filter((part) => part !== "").join(", ")}]`;
  }
  return text.replace(
    /\{\{\s{0,4}(\d{1,3})\s{0,4}\}\}/g,
    (placeholder, index) => values[Number(index) - 1] ?? placeholder,
  );
}

/** Addressed by the phone number, or by the business-scoped id without one. */
const addressed = ({ person: { phone, userId }, reference }: Envelope) => ({
  messaging_product: "whatsapp",
  recipient_type: "individual",
  ...(phone === null ? { recipient: userId } : { to: phone.slice(1) }),
  biz_opaque_callback_data: reference,
});
