import { sql } from "drizzle-orm";
import type { Query } from "./reader.ts";

/** `expiresAt` is epoch milliseconds; a key without scopes may do everything. */
export type ApiKey = { id: string; brandId: string; scopes: string[]; expiresAt: number | null };

/** A key that has not been revoked, by the SHA-256 of the whole key (lower-case hex). Expiry is for the caller to judge. */
export const apiKeyByHash = (hash: string): Query<ApiKey | null> => ({
  statement: sql`
    select id, brand_id, scopes_json, (extract(epoch from expires_at) * 1000)::float8 as expires_at
    from api_keys where secret_hash = ${hash} and revoked_at is null`,
  read: ([row]) =>
    row
      ? {
          id: row.id as string,
          brandId: row.brand_id as string,
          scopes: row.scopes_json as string[],
          expiresAt: row.expires_at as number | null,
        }
      : null,
});
