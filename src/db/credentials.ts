import { and, eq, isNotNull, isNull, sql } from "drizzle-orm";
import { build } from "./client.ts";
import type { Db } from "./client.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { apiKeys, brands, keySets } from "./schema/brands.ts";
import { iso } from "./sql.ts";
import { write } from "./write.ts";

/** Times are epoch milliseconds. A key without scopes may do everything. */
export type ApiKey = {
  id: string;
  brandId: string;
  scopes: string[];
  expiresAt: number | null;
  lastUsedAt: number | null;
};

/** A key of an active brand that has not been revoked, by the hash of the whole key (lower-case hex). The caller checks its expiry. */
export const apiKeyByHash = (hash: string): Query<ApiKey | null> =>
  query(
    build
      .select({
        id: apiKeys.id,
        brandId: apiKeys.brandId,
        scopes: apiKeys.scopesJson,
        expiresAt: apiKeys.expiresAt,
        lastUsedAt: apiKeys.lastUsedAt,
      })
      .from(apiKeys)
      .innerJoin(brands, and(eq(brands.id, apiKeys.brandId), brands.isActive))
      .where(and(eq(apiKeys.secretHash, hash), isNull(apiKeys.revokedAt))),
    ([key]) => key ?? null,
  );

export type NewApiKey = {
  brandId: string;
  name: string;
  /** The public beginning of the key, up to the secret; it names the key. */
  prefix: string;
  hash: string;
  scopes: readonly string[];
  expiresAt: number | null;
};

/** Inserts a new key; false when there is no such brand. */
export async function insertApiKey(db: Db, key: NewApiKey): Promise<boolean> {
  const [inserted] = await write(db, [
    sql`
      insert into api_keys (brand_id, name, prefix, secret_hash, scopes_json, expires_at)
      select b.id, ${key.name}, ${key.prefix}, ${key.hash}, ${JSON.stringify(key.scopes)}::jsonb,
        ${key.expiresAt === null ? null : iso(key.expiresAt)}::timestamptz
      from brands b where b.id = ${key.brandId}
      on conflict (secret_hash) do update set updated_at = now()
      returning id`,
  ]);
  return inserted.length > 0;
}

/** Revokes the key with this prefix; false when there is none. Isolates refuse it once their cached copy has expired. */
export async function revokeApiKey(db: Db, prefix: string): Promise<boolean> {
  const [revoked] = await write(db, [
    build
      .update(apiKeys)
      .set({ revokedAt: sql`coalesce(${apiKeys.revokedAt}, now())`, updatedAt: sql`now()` })
      .where(eq(apiKeys.prefix, prefix))
      .returning({ id: apiKeys.id }),
  ]);
  return revoked.length > 0;
}

/** Moves the time of a key's last use forward, never back. */
export async function touchApiKey(db: Db, id: string, usedAt: number): Promise<void> {
  await write(db, [
    build
      .update(apiKeys)
      .set({ lastUsedAt: sql`greatest(${apiKeys.lastUsedAt}, ${iso(usedAt)}::timestamptz)` })
      .where(eq(apiKeys.id, id)),
  ]);
}

/** Whether the brand exists and is not switched off. */
export const isActiveBrand = (brandId: string): Query<boolean> =>
  query(
    build
      .select({ id: brands.id })
      .from(brands)
      .where(and(eq(brands.id, brandId), brands.isActive)),
    (rows) => rows.length > 0,
  );

/** The address of a brand's own key set, and the issuer and audience its tokens must have. */
export type TokenIssuer = { jwksUrl: string; issuer: string | null; audience: string | null };

/** null for a brand without a key set of its own. */
export const tokenIssuerOf = (brandId: string): Query<TokenIssuer | null> =>
  query(
    build
      .select({ jwksUrl: sql<string>`${brands.jwksUrl}`, issuer: brands.jwtIssuer, audience: brands.jwtAudience })
      .from(brands)
      .where(and(eq(brands.id, brandId), brands.isActive, isNotNull(brands.jwksUrl))),
    ([issuer]) => issuer ?? null,
  );

/** A key set as an isolate last fetched and stored it; null when none has. `fetchedAt` is epoch milliseconds. */
export const keySetAt = (url: string): Query<{ keys: Record<string, unknown>[]; fetchedAt: number } | null> =>
  query(
    build.select({ keys: keySets.keysJson, fetchedAt: keySets.fetchedAt }).from(keySets).where(eq(keySets.url, url)),
    ([set]) => set ?? null,
  );

/** Stores a key set that has just been fetched; an older one never replaces it. */
export async function saveKeySet(db: Db, url: string, keys: readonly unknown[], fetchedAt: number): Promise<void> {
  await write(db, [
    sql`
      insert into key_sets (url, keys_json, fetched_at)
      values (${url}, ${JSON.stringify(keys)}::jsonb, ${iso(fetchedAt)}::timestamptz)
      on conflict (url) do update set keys_json = excluded.keys_json, fetched_at = excluded.fetched_at, updated_at = now()
      where key_sets.fetched_at < excluded.fetched_at`,
  ]);
}
