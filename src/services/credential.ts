import { errors, jwtVerify, SignJWT } from "jose";
import type { Config } from "../config.ts";
import { apiKeyByHash } from "../db/credentials.ts";
import type { Deps } from "../deps.ts";
import { AppError } from "../domain/errors.ts";
import { sha256, timeOfUuid, Uuid } from "../domain/ids.ts";
import type { BrandPrincipal, Caller, Principal, UserPrincipal } from "../domain/principal.ts";

/** A credential as it was sent: a token is verified by now, a key still has to be looked up. */
export type Credential = { kind: "key"; hash: string } | Exclude<Principal, BrandPrincipal>;

const KEY_PREFIX = "parley_";
/** Published in the README, so worth nothing outside development. */
const DEVELOPMENT_KEY_PREFIX = "parley_dev_";
const LONGEST_CREDENTIAL = 8_192;
const CLOCK_TOLERANCE_SECONDS = 5;
const GUEST_TOKEN_DAYS = 30;

const refused = (message: string, cause?: unknown): AppError => new AppError("UNAUTHORIZED", message, { cause });

/** Reads the `Authorization` header. Refuses (401) whatever was sent and is no valid bearer credential. */
export async function readCredential(config: Config, authorization: string | undefined): Promise<Credential> {
  if (authorization === undefined) return { kind: "anonymous" };
  const [, credential] = /^Bearer +(\S+)$/i.exec(authorization) ?? [];
  if (credential === undefined || credential.length > LONGEST_CREDENTIAL) throw refused("The credential is not valid");
  if (!credential.startsWith(KEY_PREFIX)) return verifyUserToken(config, credential);
  if (credential.startsWith(DEVELOPMENT_KEY_PREFIX) && config.environment !== "development") {
    throw refused("The credential is not valid");
  }
  return { kind: "key", hash: await sha256(credential) };
}

/** Who the credential stands for. Refuses (401) a key that is unknown, revoked or past its expiry. */
export async function authenticate(
  { read, caches, now }: Pick<Deps, "read" | "caches" | "now">,
  credential: Credential,
): Promise<Principal> {
  if (credential.kind !== "key") return credential;
  const key = await caches.apiKeys.get(credential.hash, () => read(apiKeyByHash(credential.hash)));
  if (key === null || (key.expiresAt !== null && key.expiresAt <= now())) throw refused("The credential is not valid");
  return { kind: "brand", brandId: key.brandId, keyId: key.id, scopes: key.scopes };
}

/** For what a brand's server does: where credentials are required, refuses a person (403) and nobody (401). */
export function requireKey({ authMode }: Pick<Config, "authMode">, { kind }: Credential): void {
  if (authMode === "optional" || kind === "key") return;
  if (kind === "user") throw new AppError("FORBIDDEN", "This channel takes a brand's API key");
  throw refused("An API key is required");
}

/** Whether two secrets are the same, in a time that tells nothing of where they differ. */
export async function isSameSecret(given: string, secret: string): Promise<boolean> {
  return (await sha256(given)) === (await sha256(secret));
}

/** Who is calling where nobody is let in without a credential. Refuses (401) none, and one that is not valid. */
export async function requireCaller(
  deps: Pick<Deps, "config" | "read" | "caches" | "now">,
  authorization: string | undefined,
): Promise<Caller> {
  const principal = await authenticate(deps, await readCredential(deps.config, authorization));
  if (principal.kind === "anonymous") throw refused("A credential is required");
  return principal;
}

/**
 * The person a token stands for. Only after jose has verified it: HS256 with our secret, issuer, audience and an expiry.
 * Refuses (401) everything else.
 */
export async function verifyUserToken(config: Config, token: string): Promise<UserPrincipal> {
  if (config.jwtSecret === null || token.length > LONGEST_CREDENTIAL) throw refused("The token is not valid");
  try {
    const { payload } = await jwtVerify(token, new TextEncoder().encode(config.jwtSecret), {
      algorithms: ["HS256"],
      issuer: config.jwtIssuer,
      audience: config.jwtAudience,
      requiredClaims: ["exp", "sub", "brand_id"],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
    });
    return { kind: "user", userId: Uuid.parse(payload.sub), brandId: Uuid.parse(payload.brand_id) };
  } catch (error) {
    throw refused(error instanceof errors.JWTExpired ? "The token has expired" : "The token is not valid", error);
  }
}

/**
 * A token with which a guest can go on, or null when tokens are not configured. It is a function of the turn: whoever
 * asks for the turn's answer again is given the same.
 */
export async function guestToken(
  config: Config,
  guest: { userId: string; brandId: string; turnId: string },
): Promise<string | null> {
  if (config.jwtSecret === null) return null;
  const issuedAt = Math.floor(timeOfUuid(guest.turnId) / 1000);
  return new SignJWT({ brand_id: guest.brandId })
    .setProtectedHeader({ alg: "HS256", typ: "JWT" })
    .setSubject(guest.userId)
    .setIssuer(config.jwtIssuer)
    .setAudience(config.jwtAudience)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + GUEST_TOKEN_DAYS * 86_400)
    .sign(new TextEncoder().encode(config.jwtSecret));
}
