import { createHmac } from "node:crypto";

/** Lower-case hex SHA-256. */
export async function sha256(text: string): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}

/** Lower-case hex HMAC-SHA256. */
export async function hmacSha256(secret: string, text: string): Promise<string> {
  const encoder = new TextEncoder();
  const algorithm = { name: "HMAC", hash: "SHA-256" };
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), algorithm, false, ["sign"]);
  return hex(new Uint8Array(await crypto.subtle.sign("HMAC", key, encoder.encode(text))));
}

/** The same, for code that can't wait: an object's transactions are synchronous. */
export const hmacSha256Sync = (secret: string, text: string): string =>
  createHmac("sha256", secret).update(text).digest("hex");

/** Random letters and digits, uniformly distributed: 43 of them hold 256 bits. */
export function randomText(length: number): string {
  let text = "";
  while (text.length < length) {
    const [byte = 0] = crypto.getRandomValues(new Uint8Array(1));
    // 248 is the largest multiple of 62 in a byte: higher values would favour the first letters.
    if (byte < 248) text += LETTERS.charAt(byte % 62);
  }
  return text;
}

export const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

const LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
