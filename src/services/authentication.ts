import type { Config } from "../config.ts";
import { apiKeyByHash, isActiveBrand, touchApiKey } from "../db/credentials.ts";
import type { ApiKey } from "../db/credentials.ts";
import type { Deps } from "../deps.ts";
import { AppError } from "../domain/errors.ts";
import type { BrandPrincipal, Caller, Principal } from "../domain/principal.ts";
import { verifyUserToken } from "./user-token.ts";
import type { TokenDeps } from "./user-token.ts";
import { sha256 } from "../domain/crypto.ts";
import { KEY_PREFIX, keyHash } from "./api-key.ts";
import { EVENT } from "../telemetry/events.ts";

/** A credential of a request: a token is verified, a key is not looked up yet. */
export type Credential = { kind: "key"; hash: string } | Exclude<Principal, BrandPrincipal>;
/** Prefix of the keys in the README, which are refused outside development. */
const DEVELOPMENT_KEY_PREFIX = "parley_dev_";
const MAX_CREDENTIAL = 8_192;
/** The time of a key's last use is precise to the hour, so that a request costs no write. */
const USE_NOTED_MS = 3_600_000;

const refused = (message: string): AppError => new AppError("UNAUTHORIZED", message);

/** Reads the `Authorization` header. Refuses (401) a header that is no valid bearer credential. */
export async function readCredential(deps: TokenDeps, authorization: string | undefined): Promise<Credential> {
  if (authorization === undefined) return { kind: "anonymous" };
  const [, credential] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  if (credential === undefined || credential.length > MAX_CREDENTIAL) throw refused("The credential is not valid");
  if (!credential.startsWith(KEY_PREFIX)) return verifyUserToken(deps, credential);
  const isForDevelopment = credential.startsWith(DEVELOPMENT_KEY_PREFIX);
  if (isForDevelopment && deps.config.environment !== "development") throw refused("The credential is not valid");
  // The demo's hashes are made without a pepper.
  return { kind: "key", hash: isForDevelopment ? await sha256(credential) : await keyHash(deps.config, credential) };
}

/** The credential's principal. Refuses (401) a key that is unknown, revoked, expired or of a brand that is switched off. */
export async function authenticate(
  deps: Pick<Deps, "read" | "caches" | "now" | "db" | "log" | "background">,
  credential: Credential,
): Promise<Principal> {
  if (credential.kind !== "key") return credential;
  const { caches, read, now } = deps;
  const lookUp = async () => {
    const found = await read(apiKeyByHash(credential.hash));
    if (found !== null) noteUse(deps, found);
    return found;
  };
  const key = await caches.apiKeys.get(credential.hash, () => caches.keyLookups.run(lookUp));
  if (key === null || (key.expiresAt !== null && key.expiresAt <= now())) throw refused("The credential is not valid");
  return { kind: "brand", brandId: key.brandId, keyId: key.id, scopes: key.scopes };
}

/** Writes the key's last use in the background, at most once an hour. */
function noteUse({ db, log, now, background }: Pick<Deps, "db" | "log" | "now" | "background">, key: ApiKey): void {
  if (key.lastUsedAt !== null && key.lastUsedAt > now() - USE_NOTED_MS) return;
  background(touchApiKey(db, key.id, now()).catch((error: unknown) => log.warn(EVENT.apiKeyTouchFailed, { error })));
}

/** Requires an API key where credentials are required. Refuses (403) a user's token and (401) a missing credential. */
export function requireKey({ authMode }: Pick<Config, "authMode">, { kind }: Credential): void {
  if (authMode === "optional" || kind === "key") return;
  if (kind === "user") throw new AppError("FORBIDDEN", "This channel takes a brand's API key");
  throw refused("An API key is required");
}

/** Compares two secrets in constant time. */
export async function isSameSecret(given: string, secret: string): Promise<boolean> {
  return (await sha256(given)) === (await sha256(secret));
}

/**
 * The caller of an endpoint that requires a credential. Refuses (401) none, one that is not valid, and one of a brand that
 * is switched off: an API key's look-up tells that, a user token needs one more, which is cached.
 */
export async function requireCaller(
  deps: TokenDeps & Pick<Deps, "background">,
  authorization: string | undefined,
): Promise<Caller> {
  const principal = await authenticate(deps, await readCredential(deps, authorization));
  if (principal.kind === "anonymous") throw refused("A credential is required");
  const { brandId } = principal;
  const isActive =
    principal.kind === "brand" ||
    (await deps.caches.activeBrands.get(brandId, () => deps.read(isActiveBrand(brandId))));
  if (!isActive) throw refused("The credential is not valid");
  return principal;
}
