import { sql } from "drizzle-orm";
import type { Query } from "./reader.ts";

export type ApiKey = { brandId: string; expiresAt: number | null };

/** A key that has not been revoked, by the SHA-256 of the whole key (lower-case hex). Expiry is for the caller to judge. */
export const apiKeyByHash = (hash: string): Query<ApiKey | null> => ({
  statement: sql`
    select brand_id, (extract(epoch from expires_at) * 1000)::float8 as expires_at
    from api_keys where secret_hash = ${hash} and revoked_at is null`,
  read: ([row]) => (row ? { brandId: row.brand_id as string, expiresAt: row.expires_at as number | null } : null),
});
