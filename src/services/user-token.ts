import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, SignJWT } from "jose";
import type { JWTPayload, JWTVerifyGetKey, JWTVerifyOptions } from "jose";
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

/** Algorithms of Parley's own tokens. Brands' tokens have a separate list, so that no key verifies the other kind. */
const OUR_ALGORITHMS = ["HS256"];
const THEIR_ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA"];

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
    const { key, options } = await trustFor(deps, token);
    const { payload } = await jwtVerify(token, key, {
      ...options,
      requiredClaims: ["exp", "sub", "brand_id"],
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      currentDate: new Date(deps.now()),
    });
    return { kind: "user", userId: idIn(payload.sub), brandId: idIn(payload["brand_id"]) };
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw refused(error instanceof errors.JWTExpired ? "The token has expired" : "The token is not valid", error);
  }
}

const idIn = (claim: unknown): string => Uuid.parse(claim).toLowerCase();

type Trust = {
  key: JWTVerifyGetKey;
  options: Required<Pick<JWTVerifyOptions, "algorithms">> & { issuer: string; audience: string };
};

/** Selects key, issuer and algorithms by the token's unverified claims, which are trusted only after verification. */
async function trustFor(deps: TokenDeps, token: string): Promise<Trust> {
  const { config } = deps;
  const header = decodeProtectedHeader(token);
  if (FORBIDDEN_HEADERS.some((name) => name in header)) throw refused("The token is not valid");
  const { jwtIssuer: issuer, jwtAudience: audience } = config;
  if (OUR_ALGORITHMS.includes(header.alg ?? "")) {
    if (config.jwtSecret === null) throw refused("The token is not valid");
    const secret = new TextEncoder().encode(config.jwtSecret);
    return { key: () => Promise.resolve(secret), options: { algorithms: OUR_ALGORITHMS, issuer, audience } };
  }
  if (!THEIR_ALGORITHMS.includes(header.alg ?? "")) throw refused("The token is not valid");
  const theirs = await issuerNamed(deps, decodeJwt(token));
  const key = await deps.caches.keySets.find(theirs.jwksUrl, header.kid, storeOf(deps, theirs.jwksUrl));
  if (key === null) throw refused("The token is not valid");
  return { key, options: { algorithms: THEIR_ALGORITHMS, issuer: theirs.issuer, audience: theirs.audience } };
}

type Issuer = { jwksUrl: string; issuer: string; audience: string };

/** The brand's own, else the one that is configured for all of them. A brand that doesn't say what its tokens say has none. */
async function issuerNamed({ config, read, caches }: TokenDeps, payload: JWTPayload): Promise<Issuer> {
  const brandId = idIn(payload["brand_id"]);
  const own = await caches.tokenIssuers.get(brandId, () => read(tokenIssuerOf(brandId)));
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
