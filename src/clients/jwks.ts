import type { JWK } from "jose";
import { z } from "zod";
import { readBounded } from "../domain/bounded-body.ts";
import { withDeadline } from "../domain/deadline.ts";

/** Fetches the public keys that verify the tokens of a brand's users. Throws when there are none. */
export type KeySetFetcher = (url: string) => Promise<JWK[]>;

const TIMEOUT_MS = 5_000;
const MAX_BYTES = 256 * 1024;
const DECODER = new TextDecoder();

const Keys = z.object({ keys: z.array(z.looseObject({ kty: z.string(), kid: z.string().optional() })) });

/** Asymmetric types only: a symmetric key in a public set would let every reader issue tokens. */
const PUBLIC_KEY_TYPES = ["RSA", "EC", "OKP"];

/** Fetches a JSON Web Key Set (RFC 7517). Redirects are not followed: the URL is the one the brand registered. */
export const fetchKeySet: KeySetFetcher = async (url) => {
  const text = await withDeadline(TIMEOUT_MS, async (signal) => {
    const response = await fetch(url, { headers: { Accept: "application/json" }, redirect: "manual", signal });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`The key set answered ${response.status}`);
    }
    return DECODER.decode(await readBounded(response, MAX_BYTES));
  });
  const { keys } = Keys.parse(JSON.parse(text));
  const usable = keys.filter(({ kty }) => PUBLIC_KEY_TYPES.includes(kty)) as JWK[];
  if (usable.length === 0) throw new Error("The key set has no public key");
  return usable;
};
