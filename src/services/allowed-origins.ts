import { allowedOrigins } from "../db/origins.ts";
import type { Deps } from "../deps.ts";

export type OriginRequest = {
  /** The header `Origin`. */
  origin: string;
  /** null before the request's brand is known: then the origin of any brand is allowed. */
  brandId: string | null;
  /** An API key belongs on a server: a wildcard does not allow it in a browser, and neither does development. */
  withKey: boolean;
};

/** Whether a browser may read the response: its origin is one of the brand's `allowed_origins`, or `*` is. */
export async function isAllowedOrigin(
  { config, caches, read }: Pick<Deps, "config" | "caches" | "read">,
  { origin, brandId, withKey }: OriginRequest,
): Promise<boolean> {
  if (config.environment === "development" && !withKey) return true;
  const byBrand = await caches.allowedOrigins.get("all", () => read(allowedOrigins()));
  const lists = brandId === null ? Object.values(byBrand) : [byBrand[brandId] ?? []];
  return lists.some((list) => list.includes(origin) || (!withKey && list.includes("*")));
}
