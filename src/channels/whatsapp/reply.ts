import type { ChannelIdentity } from "../../domain/inbound-message.ts";
import type { WhatsAppTemplate } from "../../domain/instance.ts";

/** The most one text message may hold, in UTF-16 units. */
export const MAX_TEXT = 4_096;

/** A person may be written to freely for this long after they wrote last. */
export const SERVICE_WINDOW_MS = 24 * 3_600_000;

/** How far beyond the limit is looked, so that the sentence that crosses it is seen to go on. */
const LOOKAHEAD = 256;

const sentences = new Intl.Segmenter("en", { granularity: "sentence" });
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/**
 * A text in parts of at most `max`, cut after a sentence if there is one, else between words, else between letters.
 * Nothing but white space at the cuts is lost.
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

/** Who is written to, and what comes back with the statuses. */
type Envelope = { person: ChannelIdentity; reference: string };

/** https://developers.facebook.com/documentation/business-messaging/whatsapp/messages/text-messages */
export const textRequest = (envelope: Envelope, body: string, replyTo: string | null) => ({
  ...addressed(envelope),
  ...(replyTo === null ? {} : { context: { message_id: replyTo } }),
  type: "text",
  text: { preview_url: false, body },
});

/** The one thing that may be sent when the person has not written for 24 hours. */
export const templateRequest = (envelope: Envelope, { name, language, components }: WhatsAppTemplate) => ({
  ...addressed(envelope),
  type: "template",
  template: { name, language: { code: language }, ...(components === undefined ? {} : { components }) },
});

/** The phone number as it came; the business-scoped id where there is none. */
const addressed = ({ person: { phone, userId }, reference }: Envelope) => ({
  messaging_product: "whatsapp",
  recipient_type: "individual",
  ...(phone === null ? { recipient: userId } : { to: phone.slice(1) }),
  biz_opaque_callback_data: reference,
});
