import type { JWK } from "jose";
import { z } from "zod";

/** Fetches the public keys a brand signs its people's tokens with. Throws when there are none to be had. */
export type KeySetFetcher = (url: string) => Promise<JWK[]>;

const TIMEOUT_MS = 5_000;
/** A key set that is larger is none. */
const MAX_CHARACTERS = 256 * 1024;

const Keys = z.object({ keys: z.array(z.looseObject({ kty: z.string(), kid: z.string().optional() })) });

/** Only what can't sign: a secret in a key set would make whoever reads it an issuer. */
const PUBLIC_KEY_TYPES = ["RSA", "EC", "OKP"];

/** A JSON Web Key Set (RFC 7517) over HTTP. Redirects are not followed: the address is the one that was agreed on. */
export const fetchKeySet: KeySetFetcher = async (url) => {
  const response = await fetch(url, {
    headers: { Accept: "application/json" },
    redirect: "manual",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`The key set answered ${response.status}`);
  }
  const text = await response.text();
  if (text.length > MAX_CHARACTERS) throw new Error(`The key set is larger than ${MAX_CHARACTERS} characters`);
  const { keys } = Keys.parse(JSON.parse(text));
  const usable = keys.filter(({ kty }) => PUBLIC_KEY_TYPES.includes(kty)) as JWK[];
  if (usable.length === 0) throw new Error("The key set has no public key");
  return usable;
};
