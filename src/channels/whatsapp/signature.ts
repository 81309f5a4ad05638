/** `sha256=` and an HMAC-SHA256 in hex. */
const SIGNATURE = /^sha256=([0-9a-f]{64})$/i;

/**
 * Whether the header `X-Hub-Signature-256` signs these bytes with one of the app secrets (several during rotation).
 * Compares in constant time. Without a secret, no signature is valid.
 */
export async function isSigned(
  secrets: readonly string[],
  signature: string | undefined,
  body: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  const [, hex] = SIGNATURE.exec(signature ?? "") ?? [];
  if (hex === undefined) return false;
  const claimed = Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  for (const secret of secrets) {
    const key = await crypto.subtle.importKey(
      "raw",
      new TextEncoder().encode(secret),
      { name: "HMAC", hash: "SHA-256" },
      false,
      ["verify"],
    );
    if (await crypto.subtle.verify("HMAC", key, claimed, body)) return true;
  }
  return false;
}
