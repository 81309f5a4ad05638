import type { ChannelIdentity } from "../../domain/inbound-message.ts";
import type { WhatsAppTemplate } from "../../domain/instance.ts";
import { records, text as readText } from "./json.ts";
import { toWhatsAppMarks } from "./markdown.ts";
import { splitText } from "./split.ts";

/** The most one text message may hold, in UTF-16 units. */
export const MAX_TEXT = 4_096;

/** Customer service window: free-form messages are allowed for this long after the user's last message. */
export const SERVICE_WINDOW_MS = 24 * 3_600_000;

/** A reply as the bodies of text messages, in WhatsApp's own marks. */
export const renderText = (text: string): string[] => splitText(toWhatsAppMarks(text), MAX_TEXT);

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
