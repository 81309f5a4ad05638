/** What can be done. A brand's key may be limited to some of these by its scopes. */
export const ACTIONS = [
  "messages:write",
  "conversations:read",
  "conversations:write",
  "conversations:delete",
  "broadcasts:read",
  "broadcasts:write",
] as const;
export type Action = (typeof ACTIONS)[number];

/** A brand's server with its key. Without scopes it may do everything. */
export type BrandPrincipal = { kind: "brand"; brandId: string; keyId: string; scopes: readonly string[] };

/** A person with a token. */
export type UserPrincipal = { kind: "user"; userId: string; brandId: string };

/** Who is calling, if they said so. */
export type Principal = { kind: "anonymous" } | BrandPrincipal | UserPrincipal;

/** Somebody with a credential. */
export type Caller = BrandPrincipal | UserPrincipal;

/** The brand a caller belongs to, if they said so. */
export const brandOf = (principal: Principal): string | null =>
  principal.kind === "anonymous" ? null : principal.brandId;

/** The one person whose things a caller may see; null for a brand's server, which sees all of its people's. */
export const personOf = (caller: Caller): string | null => (caller.kind === "user" ? caller.userId : null);
