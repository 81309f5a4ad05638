import { and, sql } from "drizzle-orm";
import { build } from "./client.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { brands } from "./schema/brands.ts";

/** Browser origins by brand id. */
export type OriginsByBrand = Record<string, string[]>;

/** The browser origins of all active brands that list any. Few brands do, so they are read together. */
export const allowedOrigins = (): Query<OriginsByBrand> =>
  query(
    build
      .select({ id: brands.id, origins: brands.allowedOriginsJson })
      .from(brands)
      .where(and(brands.isActive, sql`${brands.allowedOriginsJson} <> '[]'::jsonb`)),
    (rows) => Object.fromEntries(rows.map(({ id, origins }) => [id, origins])),
  );
