import { importJWK } from "jose";
import type { JWK } from "jose";
import { z } from "zod";
import { readBounded } from "../domain/bounded-body.ts";
import { withDeadline } from "../domain/deadline.ts";

/** Fetches the entries of a JSON Web Key Set. Throws when there is no set. */
export type KeySetFetcher = (url: string) => Promise<unknown[]>;

/** A public key and the signature algorithms that it verifies. */
export type VerificationKey = { kid: string | null; algorithms: readonly string[]; jwk: JWK };

/** An entry that can't verify signatures; `key` is its `kid`, else its index. */
export type UnusableKey = { key: string; reason: string };

const TIMEOUT_MS = 5_000;
const MAX_BYTES = 256 * 1024;
/** A token without `kid` is checked with each key of its type. */
const MAX_KEYS = 100;
const MIN_RSA_BITS = 2_048;
const DECODER = new TextDecoder();

const RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
/** Two names of one algorithm (RFC 8037, RFC 9864). */
const ED25519 = ["EdDSA", "Ed25519"];
const CURVES: Readonly<Record<string, readonly string[]>> = {
  "EC P-256": ["ES256"],
  "EC P-384": ["ES384"],
  "EC P-521": ["ES512"],
  "OKP Ed25519": ED25519,
};

/** The signature algorithms of brands' tokens. Symmetric ones are excluded: readers of a key set must not sign. */
export const KEY_SET_ALGORITHMS = [...RSA, ...Object.values(CURVES).flat()];

const KeySetBody = z.object({ keys: z.array(z.unknown()) });

/** A key as an entry of a set, without members that verification does not need. */
export const toEntry = ({ kid, algorithms: [alg, ...others], jwk }: VerificationKey): JWK => ({
  ...jwk,
  ...(kid === null ? {} : { kid }),
  ...(alg === undefined || others.length > 0 ? {} : { alg }),
});

/** Fetches a key set (RFC 7517). Redirects are not followed: the URL is the one the brand registered. */
export const fetchKeySet: KeySetFetcher = async (url) => {
  const text = await withDeadline(TIMEOUT_MS, async (signal) => {
    const response = await fetch(url, { headers: { Accept: "application/json" }, redirect: "manual", signal });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`The key set answered ${response.status}`);
    }
    return DECODER.decode(await readBounded(response, MAX_BYTES));
  });
  return KeySetBody.parse(JSON.parse(text)).keys;
};

/** Reads the entries one by one: an unusable one is reported and does not affect the others. */
export async function readKeys(
  entries: readonly unknown[],
): Promise<{ keys: VerificationKey[]; unusable: UnusableKey[] }> {
  const keys: VerificationKey[] = [];
  const unusable: UnusableKey[] = [];
  for (const [index, entry] of entries.entries()) {
    try {
      if (index >= MAX_KEYS) throw new Error(`The set has more than ${MAX_KEYS} keys`);
      const key = await readKey(entry);
      if (key !== null) keys.push(key);
    } catch (error) {
      const { kid } = z.looseObject({ kid: z.string() }).safeParse(entry).data ?? {};
      unusable.push({ key: kid ?? `#${index}`, reason: error instanceof Error ? error.message : String(error) });
    }
  }
  return { keys, unusable };
}

const optional = z.string().nullish();
const Entry = z.looseObject({ kty: z.string(), kid: optional, use: optional, alg: optional, crv: optional });

/** null for an encryption key. Throws for an entry that is not a supported public key. */
async function readKey(entry: unknown): Promise<VerificationKey | null> {
  const { kty, kid = null, use, alg, crv, key_ops, d, n, e, x, y } = Entry.parse(entry);
  if (use != null && use !== "sig") return null;
  if (Array.isArray(key_ops) && !key_ops.includes("verify")) return null;
  if (d !== undefined) throw new Error("It is a private key");
  const family = kty === "RSA" ? RSA : CURVES[`${kty} ${crv}`];
  if (family === undefined) throw new Error(`The key type ${kty} ${crv ?? ""} is not supported`);
  const algorithms = alg == null ? family : family.includes(alg) ? (family === ED25519 ? ED25519 : [alg]) : [];
  const [algorithm] = algorithms;
  if (algorithm === undefined) throw new Error(`The algorithm ${alg} is not supported`);
  const jwk = (kty === "RSA" ? { kty, n, e } : { kty, crv, x, y }) as JWK;
  const key = await importJWK(jwk, algorithm);
  if (key instanceof Uint8Array) throw new Error("It is a symmetric key");
  const { modulusLength = MIN_RSA_BITS } = key.algorithm as { modulusLength?: number };
  if (modulusLength < MIN_RSA_BITS) throw new Error(`An RSA key needs ${MIN_RSA_BITS} bits`);
  return { kid, algorithms, jwk };
}
