import { createHmac, randomUUID } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** The demo's WhatsApp instance. */
export const BUSINESS = { number: "15550001111", phoneNumberId: "100000000000001" };
export const APP_SECRET = "parley-dev-app-secret";

export const newWamid = () => `wamid.${randomUUID().replaceAll("-", "")}`;

/** A phone number as Meta writes it: digits. */
export const newNumber = () =>
  `1${String(Math.floor(Math.random() * 1e10))
    .padStart(10, "2")
    .replace(/^[01]/, "2")}`;

export const newUserId = () => `US.${Math.floor(Math.random() * 1e15)}`;

type Json = Record<string, any>;
type Sender = { phone?: string; userId?: string };

/** A message of a webhook; undefined omits a field. */
export const text = (from: Sender, body: string, more: Json = {}): Json => ({
  ...(from.phone === undefined ? {} : { from: from.phone }),
  ...(from.userId === undefined ? {} : { from_user_id: from.userId }),
  id: newWamid(),
  timestamp: String(Math.floor(Date.now() / 1000)),
  type: "text",
  text: { body },
  ...more,
});

/** A webhook change around a value, with the demo number's metadata. */
export const change = (value: Json, field = "messages", business = BUSINESS): Json => ({
  field,
  value: {
    messaging_product: "whatsapp",
    metadata: { display_phone_number: business.number, phone_number_id: business.phoneNumberId },
    ...value,
  },
});

/** A webhook with these changes. */
export const notification = (...changes: Json[]): Json => ({
  object: "whatsapp_business_account",
  entry: [{ id: "102290129340398", changes }],
});

/** A webhook with messages of one user each. */
export const messages = (...items: Json[]): Json => notification(change({ messages: items }));

export const sign = (body: string | Uint8Array, secret: string = APP_SECRET): string =>
  `sha256=${createHmac("sha256", secret).update(body).digest("hex")}`;

const FIXTURES = join(import.meta.dirname, "../fixtures/whatsapp");

/** The published payloads, by file name. */
export const fixtures = (): { name: string; payload: Json }[] =>
  readdirSync(FIXTURES)
    .filter((name) => name.endsWith(".json"))
    .map((name) => ({ name, payload: JSON.parse(readFileSync(join(FIXTURES, name), "utf8")) }));

export const fixture = (name: string): Json => JSON.parse(readFileSync(join(FIXTURES, `${name}.json`), "utf8"));
