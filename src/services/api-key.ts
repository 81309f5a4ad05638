import { insertApiKey, revokeApiKey } from "../db/credentials.ts";
import type { Deps } from "../deps.ts";
import { invalid, notFound } from "../domain/errors.ts";
import { ACTIONS } from "../domain/principal.ts";
import type { Action } from "../domain/principal.ts";
import { randomText, hmacSha256, sha256 } from "../domain/crypto.ts";
import type { Config } from "../config.ts";

export type KeyOrder = {
  brandId: string;
  name: string;
  /** Empty allows every action. */
  scopes: readonly string[];
  /** Epoch milliseconds; null for never. */
  expiresAt: number | null;
};

/**
 * Creates a key for a brand's server. The key is returned once; only its hash is stored. `keyId` identifies it for
 * revocation. Refuses (400) an unknown scope and (404) an unknown brand.
 */
export async function createKey(
  { db, config }: Pick<Deps, "db" | "config">,
  { brandId, name, scopes, expiresAt }: KeyOrder,
): Promise<{ key: string; keyId: string }> {
  const unknown = scopes.find((scope) => !ACTIONS.includes(scope as Action));
  if (unknown !== undefined) throw invalid("scopes", `${unknown} is no scope: ${ACTIONS.join(", ")}`);
  const keyId = randomText(10);
  const prefix = `${KEY_PREFIX}${keyId}`;
  const key = `${prefix}_${randomText(43)}`;
  const kept = await insertApiKey(db, { brandId, name, prefix, hash: await keyHash(config, key), scopes, expiresAt });
  if (!kept) throw notFound("brand", brandId);
  return { key, keyId };
}

/** Revokes a key by its id; isolates that cache it may accept it for another minute. Refuses (404) an unknown id. */
export async function revokeKey({ db }: Pick<Deps, "db">, keyId: string): Promise<void> {
  const prefix = keyId.startsWith(KEY_PREFIX) ? keyId : `${KEY_PREFIX}${keyId}`;
  if (!(await revokeApiKey(db, prefix))) throw notFound("api_key", keyId);
}

export const KEY_PREFIX = "parley_";

/** Hash under which a key is stored. A reader of the table can't derive a key or, with a pepper, verify a guess. */
export const keyHash = ({ apiKeyPepper }: Pick<Config, "apiKeyPepper">, key: string): Promise<string> =>
  apiKeyPepper === null ? sha256(key) : hmacSha256(apiKeyPepper, key);
