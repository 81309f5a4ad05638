/** Actions that are authorised. Scopes limit a brand's key to some of them. */
export const ACTIONS = [
  "messages:write",
  "conversations:read",
  "conversations:write",
  "conversations:delete",
  "broadcasts:read",
  "broadcasts:write",
] as const;
export type Action = (typeof ACTIONS)[number];

/** A brand's server with an API key. Without scopes, every action is allowed. */
export type BrandPrincipal = { kind: "brand"; brandId: string; keyId: string; scopes: readonly string[] };

/** A user with a token. */
export type UserPrincipal = { kind: "user"; userId: string; brandId: string };

/** The caller of a request, with or without a credential. */
export type Principal = { kind: "anonymous" } | BrandPrincipal | UserPrincipal;

/** A caller with a credential. */
export type Caller = BrandPrincipal | UserPrincipal;

/** The caller's brand; null without a credential. */
export const brandOf = (principal: Principal): string | null =>
  principal.kind === "anonymous" ? null : principal.brandId;

/** The only user that the caller may read; null for a brand's server, which may read all users of its brand. */
export const personOf = (caller: Caller): string | null => (caller.kind === "user" ? caller.userId : null);
