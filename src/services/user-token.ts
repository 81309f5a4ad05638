import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, SignJWT } from "jose";
import type { JWK, JWTPayload } from "jose";
import { KEY_SET_ALGORITHMS } from "../clients/jwks.ts";
import type { Config } from "../config.ts";
import { keySetAt, saveKeySet, tokenIssuerOf } from "../db/credentials.ts";
import type { Deps } from "../deps.ts";
import { AppError } from "../domain/errors.ts";
import { timeOfUuid, Uuid } from "../domain/ids.ts";
import type { UserPrincipal } from "../domain/principal.ts";
import type { KeySetStore } from "../isolate/key-sets.ts";
import { EVENT } from "../telemetry/events.ts";

const MAX_TOKEN = 8_192;
const CLOCK_TOLERANCE_SECONDS = 5;
const GUEST_TOKEN_DAYS = 30;

/** Algorithms of Parley's own tokens. None is in `KEY_SET_ALGORITHMS`, so that no key verifies the other kind. */
const OUR_ALGORITHMS = ["HS256"];

/** Headers by which a token would supply its own key, and unsupported extensions. */
const FORBIDDEN_HEADERS = ["jwk", "jku", "x5u", "x5c", "crit"];

export type TokenDeps = Pick<Deps, "config" | "db" | "read" | "caches" | "now" | "log">;

const refused = (message: string, cause?: unknown): AppError => new AppError("UNAUTHORIZED", message, { cause });

/**
 * Verifies a user token with jose and returns its user. The token is signed with Parley's secret or a key of its brand,
 * and has issuer, audience and expiry. Refuses (401) any other, and (503) when the brand's keys were never available.
 */
export async function verifyUserToken(deps: TokenDeps, token: string): Promise<UserPrincipal> {
  if (token.length > MAX_TOKEN) throw refused("The token is not valid");
  try {
    const { sub, brand_id } = await verifiedClaims(deps, token);
    return { kind: "user", userId: idIn(sub), brandId: idIn(brand_id) };
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw refused(error instanceof errors.JWTExpired ? "The token has expired" : "The token is not valid", error);
  }
}

const idIn = (claim: unknown): string => Uuid.parse(claim).toLowerCase();

/** Selects key, issuer and algorithms by the token's unverified claims, which are trusted only after verification. */
async function verifiedClaims(deps: TokenDeps, token: string): Promise<JWTPayload> {
  const { config, caches } = deps;
  const header = decodeProtectedHeader(token);
  if (FORBIDDEN_HEADERS.some((name) => name in header)) throw refused("The token is not valid");
  if (OUR_ALGORITHMS.includes(header.alg ?? "")) {
    const { jwtSecret, jwtIssuer: issuer, jwtAudience: audience } = config;
    if (jwtSecret === null) throw refused("The token is not valid");
    const trust = { algorithms: OUR_ALGORITHMS, issuer, audience };
    return verifyWith(deps, token, new TextEncoder().encode(jwtSecret), trust);
  }
  if (!KEY_SET_ALGORITHMS.includes(header.alg ?? "")) throw refused("The token is not valid");
  const { jwksUrl, issuer, audience } = await issuerNamed(deps, decodeJwt(token));
  const trust = { algorithms: KEY_SET_ALGORITHMS, issuer, audience };
  const claims = await caches.keySets.verify(jwksUrl, header, storeOf(deps, jwksUrl), (key) =>
    verifyWith(deps, token, key, trust).catch(otherKey),
  );
  if (claims === null) throw refused("The token is not valid");
  return claims;
}

type Trust = { algorithms: string[]; issuer: string; audience: string };

async function verifyWith(
  { now }: Pick<Deps, "now">,
  token: string,
  key: Uint8Array | JWK,
  trust: Trust,
): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, key, {
    ...trust,
    requiredClaims: ["exp", "sub", "brand_id"],
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    currentDate: new Date(now()),
  });
  return payload;
}

/** null when another key may have signed the token. */
function otherKey(error: unknown): null {
  if (error instanceof errors.JWSSignatureVerificationFailed) return null;
  throw error;
}

type Issuer = { jwksUrl: string; issuer: string; audience: string };

/** The brand's own, else the one that is configured for all of them. A brand that doesn't say what its tokens say has none. */
async function issuerNamed({ config, read, caches }: TokenDeps, payload: JWTPayload): Promise<Issuer> {
  const brandId = idIn(payload["brand_id"]);
  const own = await caches.tokenIssuers.get(brandId, () => caches.keyLookups.run(() => read(tokenIssuerOf(brandId))));
  if (own !== null) {
    const { jwksUrl, issuer, audience } = own;
    if (issuer === null || audience === null) throw refused("The token is not valid");
    return { jwksUrl, issuer, audience };
  }
  const { jwksUrl, jwtIssuer: issuer, jwtAudience: audience } = config;
  if (jwksUrl === null) throw refused("The token is not valid");
  return { jwksUrl, issuer, audience };
}

/** Stores the last valid key set in Postgres, for isolates that start while its URL is unavailable. */
const storeOf = ({ db, read, log }: TokenDeps, url: string): KeySetStore => {
  const report = (error: unknown) => log.warn(EVENT.keySetUnavailable, { error, url });
  return {
    report,
    reportUnusable: ({ key, reason }) => log.warn(EVENT.keyUnusable, { url, key, reason }),
    load: () => read(keySetAt(url)),
    save: (_url, { keys, fetchedAt }) => saveKeySet(db, url, keys, fetchedAt),
  };
};

/**
 * Returns a token that continues as the same guest, or null without a configured secret. It is derived from the turn, so
 * a repeated request gets the same token.
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
