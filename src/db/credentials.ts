import { sql } from "drizzle-orm";
import type { Db } from "./client.ts";
import type { Query } from "./reader.ts";
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

/** A key that has not been revoked, by the hash of the whole key (lower-case hex). Expiry is for the caller to judge. */
export const apiKeyByHash = (hash: string): Query<ApiKey | null> => ({
  statement: sql`
    select k.id, k.brand_id, k.scopes_json, (extract(epoch from k.expires_at) * 1000)::float8 as expires_at,
      (extract(epoch from k.last_used_at) * 1000)::float8 as last_used_at
    from api_keys k join brands b on b.id = k.brand_id and b.is_active
    where k.secret_hash = ${hash} and k.revoked_at is null`,
  read: ([row]) =>
    row
      ? {
          id: row.id as string,
          brandId: row.brand_id as string,
          scopes: row.scopes_json as string[],
          expiresAt: row.expires_at as number | null,
          lastUsedAt: row.last_used_at as number | null,
        }
      : null,
});

export type NewApiKey = {
  brandId: string;
  name: string;
  /** What names the key, and may be shown: its beginning, up to the secret. */
  prefix: string;
  hash: string;
  scopes: readonly string[];
  expiresAt: number | null;
};

/** Keeps a new key; false when there is no such brand. */
export async function insertApiKey(db: Db, key: NewApiKey): Promise<boolean> {
  const [rows = []] = await write(db, [
    sql`
      insert into api_keys (brand_id, name, prefix, secret_hash, scopes_json, expires_at)
      select b.id, ${key.name}, ${key.prefix}, ${key.hash}, ${JSON.stringify(key.scopes)}::jsonb,
        ${key.expiresAt === null ? null : iso(key.expiresAt)}::timestamptz
      from brands b where b.id = ${key.brandId}
      on conflict (secret_hash) do update set updated_at = now()
      returning id`,
  ]);
  return rows.length > 0;
}

/** Revokes the key that goes by this prefix; false when none does. It is refused as soon as no isolate remembers it. */
export async function revokeApiKey(db: Db, prefix: string): Promise<boolean> {
  const [rows = []] = await write(db, [
    sql`
      update api_keys set revoked_at = coalesce(revoked_at, now()), updated_at = now()
      where prefix = ${prefix} returning id`,
  ]);
  return rows.length > 0;
}

/** Notes that a key is in use; never back. */
export async function touchApiKey(db: Db, id: string, usedAt: number): Promise<void> {
  await write(db, [
    sql`update api_keys set last_used_at = greatest(last_used_at, ${iso(usedAt)}::timestamptz) where id = ${id}`,
  ]);
}

/** What a brand's own tokens must say, and where its keys are; null for a brand that has none of its own. */
export type TokenIssuer = { jwksUrl: string; issuer: string | null; audience: string | null };

export const tokenIssuerOf = (brandId: string): Query<TokenIssuer | null> => ({
  statement: sql`
    select jwks_url, jwt_issuer, jwt_audience from brands
    where id = ${brandId} and is_active and jwks_url is not null`,
  read: ([row]) =>
    row
      ? {
          jwksUrl: row.jwks_url as string,
          issuer: row.jwt_issuer as string | null,
          audience: row.jwt_audience as string | null,
        }
      : null,
});

/** A key set as it was last fetched by anybody; null when nobody ever has. `fetchedAt` is epoch milliseconds. */
export const keySetAt = (url: string): Query<{ keys: Record<string, unknown>[]; fetchedAt: number } | null> => ({
  statement: sql`
    select keys_json, (extract(epoch from fetched_at) * 1000)::float8 as fetched_at from key_sets where url = ${url}`,
  read: ([row]) =>
    row ? { keys: row.keys_json as Record<string, unknown>[], fetchedAt: row.fetched_at as number } : null,
});

/** Keeps a key set that has just been fetched; an older one never replaces it. */
export async function saveKeySet(db: Db, url: string, keys: readonly unknown[], fetchedAt: number): Promise<void> {
  await write(db, [
    sql`
      insert into key_sets (url, keys_json, fetched_at)
      values (${url}, ${JSON.stringify(keys)}::jsonb, ${iso(fetchedAt)}::timestamptz)
      on conflict (url) do update set keys_json = excluded.keys_json, fetched_at = excluded.fetched_at, updated_at = now()
      where key_sets.fetched_at < excluded.fetched_at`,
  ]);
}
