import type { InboundKind } from "../../domain/inbound-message.ts";
import { sanitizeData } from "../../domain/sanitize.ts";
import { number, record, records, text } from "./json.ts";
import type { Json } from "./json.ts";
import { isRecord } from "../../domain/json.ts";

/** A message as text, and its structured fields. A message without text gets a placeholder in brackets. */
export type Content = {
  kind: InboundKind;
  content: string;
  details: Record<string, unknown>;
  /** Files the message holds, by their ids at the channel. */
  attachments?: Record<string, unknown>[];
};

type Reader = (message: Json) => Content | null;

const joined = (separator: string, ...parts: (string | null)[]): string | null =>
  text(parts.filter((part) => part !== null).join(separator));

/** The entries that are neither null nor undefined. */
const known = (details: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(details).filter(([, value]) => value !== null && value !== undefined));

const spoken = (kind: InboundKind, content: string, details: Record<string, unknown> = {}): Content => ({
  kind,
  content,
  details: known(details),
});

const contentIf = (kind: InboundKind, content: string | null, details: Record<string, unknown> = {}): Content | null =>
  content === null ? null : spoken(kind, content, details);

const media =
  (kind: "image" | "audio" | "video" | "document" | "sticker"): Reader =>
  (message) => {
    const { id, mime_type, sha256, filename, caption, voice, animated } = record(message[kind]);
    const file = known({ id, mime_type, sha256, filename, voice, animated });
    const placeholder = `[${joined(": ", kind, text(filename)) ?? kind}]`;
    const attachment = { type: kind, ...known({ id, mime_type, sha256, name: filename }), caption: text(caption) };
    return { ...spoken(kind, text(caption) ?? placeholder, { media: file }), attachments: [attachment] };
  };

function location({ location }: Json): Content | null {
  const { latitude, longitude, name, address } = record(location);
  const [north, east] = [coordinate(latitude), coordinate(longitude)];
  const place = joined(", ", text(name), text(address));
  const point = north === null || east === null ? null : `${north}, ${east}`;
  const content = place !== null && point !== null ? `${place} (${point})` : (place ?? point);
  return contentIf("location", content, { location: known({ latitude: north, longitude: east, name, address }) });
}

const coordinate = (value: unknown): number | null => number(value) ?? number(Number(text(value) ?? Number.NaN));

function contacts({ contacts }: Json): Content | null {
  const people = records(contacts).map((contact) => {
    const { formatted_name, first_name, last_name } = record(contact.name);
    const phones = records(contact.phones).flatMap(({ phone }) => text(phone) ?? []);
    return { name: text(formatted_name) ?? joined(" ", text(first_name), text(last_name)), phones };
  });
  const words = people.map(({ name, phones }) =>
    name !== null && phones.length > 0 ? `${name} (${phones.join(", ")})` : (name ?? phones.join(", ")),
  );
  return contentIf("contacts", text(words.filter((word) => word !== "").join("; ")), { contacts: people });
}

/** Replies to buttons, lists and flows. A flow's answer is JSON inside a string. */
function interactive({ interactive }: Json): Content | null {
  const { type, button_reply, list_reply, nfm_reply, call_permission_reply } = record(interactive);
  switch (type) {
    case "button_reply":
    case "list_reply": {
      const { id, title, description } = record(button_reply ?? list_reply);
      return contentIf("interactive", text(title) ?? text(id), { reply: known({ id, title, description }) });
    }
    case "nfm_reply": {
      const { name, body, response_json } = record(nfm_reply);
      const { flow_token: token, ...answers } = parsed(response_json);
      const lines = Object.entries(answers).map(
        ([field, value]) => `${field}: ${typeof value === "string" ? value : JSON.stringify(sanitizeData(value))}`,
      );
      return contentIf("interactive", joined("\n", text(body), ...lines), {
        form: { ...known({ name, token }), answers },
      });
    }
    case "call_permission_reply": {
      const { response } = record(call_permission_reply);
      return spoken("call_permission", `[call permission: ${text(response) ?? "answered"}]`);
    }
    default:
      return null;
  }
}

function parsed(json: unknown): Json {
  try {
    return record(typeof json === "string" ? JSON.parse(json) : json);
  } catch {
    // An invalid form answer is kept as a string in the raw message.
    return {};
  }
}

function order({ order }: Json): Content | null {
  const { catalog_id, text: note, product_items } = record(order);
  const items = records(product_items).map(({ product_retailer_id, quantity, item_price, currency }) => {
    const price = joined(" ", text(item_price), text(currency));
    return `${text(quantity) ?? "1"} x ${text(product_retailer_id) ?? "?"}${price === null ? "" : ` (${price})`}`;
  });
  return contentIf("order", joined("\n", text(note), ...items), { order: known({ catalog_id, product_items }) });
}

function reaction({ reaction }: Json): Content | null {
  const { message_id, emoji } = record(reaction);
  // A removed reaction has an empty emoji or none.
  const content = text(emoji) === null ? "[reaction removed]" : `[reacted with ${text(emoji)}]`;
  return spoken("reaction", content, { reaction: known({ message_id, emoji }) });
}

function edit({ edit }: Json): Content {
  const { original_message_id, message } = record(edit);
  const words = record(message);
  // An edit of an edit names the original message; an edit inside an edit is invalid.
  const edited = words.type === "edit" ? unsupported("edit") : readContent(words);
  const details = known({ edits: original_message_id, edited_kind: edited.kind, ...edited.details });
  return { ...edited, kind: "edit", details };
}

const READERS: Record<string, Reader> = {
  text: ({ text: words }) => contentIf("text", text(record(words).body)),
  image: media("image"),
  audio: media("audio"),
  video: media("video"),
  document: media("document"),
  sticker: media("sticker"),
  location,
  contacts,
  interactive,
  button: ({ button }) => contentIf("button", text(record(button).text), { payload: record(button).payload }),
  order,
  reaction,
  edit,
  revoke: ({ revoke }) => spoken("revoke", "[message deleted]", { revokes: record(revoke).original_message_id }),
  system: ({ system }) =>
    spoken("system", text(record(system).body) ?? `[${text(record(system).type) ?? "system"}]`, {
      system: record(system).type,
    }),
  request_welcome: () => spoken("welcome", "[chat opened]"),
  unsupported: (message) => unsupported(text(record(message.unsupported).type) ?? "unsupported"),
};

/** Reads a message by its type. An unknown type, or a message without the content of its type, is `unsupported`. */
export function readContent(message: Json): Content {
  const type = text(message.type) ?? "unknown";
  const read = Object.hasOwn(READERS, type) ? READERS[type] : undefined;
  return read?.(message) ?? unsupported(type);
}

const unsupported = (type: string): Content => ({
  kind: "unsupported",
  content: `[unsupported message: ${type}]`,
  details: {},
});

/** Fields of messages of any type: quoted message, forwarding, product, advertisement (referral), errors. */
export function readContextFields({ context, referral, errors }: Json): Record<string, unknown> {
  const { id, forwarded, frequently_forwarded, referred_product } = record(context);
  return known({
    reply_to: text(id),
    forwarded: forwarded === true || frequently_forwarded === true ? true : null,
    referred_product,
    referral: isRecord(referral) ? referral : null,
    errors: Array.isArray(errors) ? errors : null,
  });
}
