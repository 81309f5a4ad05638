import { createHmac } from "node:crypto";
import { base64url, exportSPKI, importJWK, SignJWT } from "jose";
import type { JWK, JWTPayload } from "jose";
import { afterEach, describe, expect } from "vitest";
import { AppError } from "../../src/domain/errors.ts";
import { readCredential } from "../../src/services/authentication.ts";
import { ACME, GLOBEX } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { createIssuer, startKeyServer } from "../support/key-server.ts";
import type { Issuer, KeyServer } from "../support/key-server.ts";
import { databaseTest } from "../support/fixtures.ts";

const SECRET = "a-secret-of-this-test-of-more-than-32-characters";
const ANN = "01a203c1-5b09-7963-9685-2aef74277b10";
const NOW = Date.UTC(2026, 10, 22, 12);
const MINUTE_MS = 60_000;
const seconds = (ms: number): number => Math.floor(ms / 1000);

const it = databaseTest()
  .extend("acme", { scope: "file" }, () => createIssuer("acme"))
  .extend("globex", { scope: "file" }, () => createIssuer("globex", "ES256"))
  /** An isolate that has just begun. */
  .extend(
    "isolate",
    { scope: "file" },
    ({ database }) =>
      (env: Record<string, string> = {}): TestDeps =>
        createTestDeps({ endpoint: database.endpoint, env: { JWT_SECRET: SECRET, ...env }, now: () => now }),
  )
  .extend("claims", { scope: "file" }, ({ acme }) => (changes: Claims = {}): JWTPayload => ({
    sub: ANN,
    brand_id: ACME,
    iss: acme.issuer,
    aud: acme.audience,
    exp: seconds(now) + 600,
    ...changes,
  }))
  .extend(
    "ours",
    { scope: "file" },
    ({ claims }) =>
      (changes: Claims = {}, { secret = SECRET, header = {} } = {}): Promise<string> =>
        new SignJWT(claims({ iss: "parley", aud: "parley", ...changes }))
          .setProtectedHeader({ alg: "HS256", ...header })
          .sign(new TextEncoder().encode(secret)),
  );
let keys: KeyServer;
let globexKeys: KeyServer;
let now = NOW;

it.beforeEach(async ({ acme, globex, database }) => {
  now = NOW;
  keys = await startKeyServer([acme.jwk]);
  globexKeys = await startKeyServer([globex.jwk]);
  await database.query("delete from key_sets");
  for (const [brand, issuer, url] of [
    [ACME, acme, keys.url],
    [GLOBEX, globex, globexKeys.url],
  ] as const) {
    await database.query("update brands set jwks_url = $1, jwt_issuer = $2, jwt_audience = $3 where id = $4", [
      url,
      issuer.issuer,
      issuer.audience,
      brand,
    ]);
  }
});
afterEach(async () => {
  await keys.close();
  await globexKeys.close();
});

const ask = (deps: TestDeps, token: string) => readCredential(deps, `Bearer ${token}`);
const verdict = (deps: TestDeps, token: string): Promise<unknown> =>
  ask(deps, token).catch((error: unknown) => (error instanceof AppError ? error.status : error));
const person = (brandId: string = ACME) => ({ kind: "user", userId: ANN, brandId });

/** `undefined` leaves a claim out. */
type Claims = Record<string, unknown>;
type Signers = {
  acme: Issuer;
  globex: Issuer;
  claims: (changes?: Claims) => JWTPayload;
  ours: (changes?: Claims, options?: { secret?: string; header?: Record<string, unknown> }) => Promise<string>;
};

const unsigned = (header: object, payload: object): string =>
  [header, payload].map((part) => base64url.encode(JSON.stringify(part))).join(".");

describe("a person's token", () => {
  it("a token is accepted when Parley's secret or the brand's key set verifies it", async ({
    isolate,
    ours,
    acme,
    claims,
    globex,
  }) => {
    const deps = isolate();
    expect(await ask(deps, await ours())).toEqual(person());
    expect(await ask(deps, await acme.sign(claims()))).toEqual(person());
    const theirs = claims({ brand_id: GLOBEX, iss: globex.issuer, aud: ["other", globex.audience] });
    expect(await ask(deps, await globex.sign(theirs))).toEqual(person(GLOBEX));
  });

  it("a token is accepted from the configured key set for brands without their own", async ({
    database,
    isolate,
    acme,
    claims,
  }) => {
    await database.query("update brands set jwks_url = null where id = $1", [ACME]);
    const deps = isolate({ JWT_JWKS_URL: keys.url, JWT_ISSUER: acme.issuer, JWT_AUDIENCE: acme.audience });
    expect(await ask(deps, await acme.sign(claims()))).toEqual(person());
  });

  const forged: [string, (by: Signers) => Promise<string> | string][] = [
    ["is signed by nobody", ({ claims }) => `${unsigned({ alg: "none" }, claims())}.`],
    ["is signed by nobody, spelled otherwise", ({ claims }) => `${unsigned({ alg: "nOnE" }, claims())}.`],
    [
      "is signed with the brand's public key as if it were a secret",
      async ({ acme, claims }) => {
        const pem = await exportSPKI((await importJWK(acme.jwk, "RS256")) as CryptoKey);
        const body = unsigned({ alg: "HS256", kid: acme.kid }, claims());
        return `${body}.${createHmac("sha256", pem).update(body).digest("base64url")}`;
      },
    ],
    ["is signed with Parley's secret by another algorithm", ({ ours }) => ours({}, { header: { alg: "HS512" } })],
    ["is signed with another secret", ({ ours }) => ours({}, { secret: "another-secret-of-more-than-32-characters!" })],
    ["has expired", ({ ours }) => ours({ exp: seconds(NOW) - 6 })],
    ["has expired, signed by the brand", ({ acme, claims }) => acme.sign(claims({ exp: seconds(NOW) - 6 }))],
    ["never expires", ({ ours }) => ours({ exp: undefined })],
    ["expires at a time that is no number", ({ ours }) => ours({ exp: "tomorrow" })],
    ["is not valid yet", ({ ours }) => ours({ nbf: seconds(NOW) + 60 })],
    ["is another issuer's", ({ ours }) => ours({ iss: "somebody" })],
    [
      "is another issuer's, signed by the brand",
      ({ acme, globex, claims }) => acme.sign(claims({ iss: globex.issuer })),
    ],
    ["is for somebody else", ({ ours }) => ours({ aud: "another-app" })],
    [
      "is for somebody else, signed by the brand",
      ({ acme, globex, claims }) => acme.sign(claims({ aud: globex.audience })),
    ],
    [
      "names a brand whose key did not sign it",
      ({ acme, globex, claims }) => acme.sign(claims({ brand_id: GLOBEX, iss: globex.issuer, aud: globex.audience })),
    ],
    ["names another brand's key", ({ acme, globex, claims }) => acme.sign(claims(), { kid: globex.kid })],
    ["names no brand", ({ ours }) => ours({ brand_id: undefined })],
    ["names no brand, signed by the brand", ({ acme, claims }) => acme.sign(claims({ brand_id: undefined }))],
    ["names no person", ({ ours }) => ours({ sub: undefined })],
    ["names somebody who is no person", ({ ours }) => ours({ sub: "admin" })],
    ["names a key nobody knows", ({ acme, claims }) => acme.sign(claims(), { kid: "unknown" })],
    ["is larger than 8 KB", ({ ours }) => ours({ filler: "x".repeat(8_192) })],
    [
      "brings its own key",
      async ({ acme, claims }) => {
        const eve = await createIssuer("eve");
        return eve.sign(claims(), { kid: acme.kid, jwk: eve.jwk });
      },
    ],
    ["brings a key along, even the right one", ({ acme, claims }) => acme.sign(claims(), { jwk: acme.jwk })],
    ["tells where its key is", ({ acme, claims }) => acme.sign(claims(), { jku: keys.url })],
    ["tells where its certificate is", ({ acme, claims }) => acme.sign(claims(), { x5u: keys.url })],
    ["wants to be understood in its own way", ({ ours }) => ours({}, { header: { crit: ["b64"], b64: true } })],
    [
      "was changed after it was signed",
      async ({ ours }) => (await ours()).replace(/\.[^.]+\./, `.${base64url.encode("{}")}.`),
    ],
    ["has two parts", async ({ ours }) => (await ours()).split(".").slice(0, 2).join(".")],
    ["is no token at all", () => "hello"],
  ];
  it.for(forged)("a token is refused when it %s", async ([, make], { isolate, acme, globex, claims, ours }) => {
    expect(await verdict(isolate(), await make({ acme, globex, claims, ours }))).toBe(401);
  });

  it("a brand's token is refused when the brand's issuer or audience is not configured", async ({
    database,
    isolate,
    acme,
    claims,
  }) => {
    await database.query("update brands set jwt_audience = null where id = $1", [ACME]);
    expect(await verdict(isolate(), await acme.sign(claims()))).toBe(401);
  });

  it("a token is refused when the brand's key set holds a symmetric secret", async ({ acme, isolate, ours }) => {
    keys.serve([{ kty: "oct", k: base64url.encode(SECRET), kid: "s", alg: "HS256" }, acme.jwk]);
    const deps = isolate({ JWT_SECRET: "" });
    expect(await verdict(deps, await ours({ iss: acme.issuer, aud: acme.audience }, { header: { kid: "s" } }))).toBe(
      401,
    );
  });
});

describe("a brand's key set", () => {
  it("a key set is fetched once for many tokens and again when it is old", async ({ isolate, acme, claims }) => {
    const deps = isolate();
    await Promise.all(Array.from({ length: 20 }, async () => ask(deps, await acme.sign(claims()))));
    expect(keys.requests).toBe(1);
    now += 11 * MINUTE_MS;
    await ask(deps, await acme.sign(claims()));
    expect(keys.requests).toBe(2);
  });

  it("a key set unreachable for half an hour still verifies, also in a new isolate", async ({
    isolate,
    acme,
    claims,
  }) => {
    const deps = isolate();
    await ask(deps, await acme.sign(claims()));
    keys.serve(null);
    for (let minute = 1; minute <= 30; minute += 1) {
      now += MINUTE_MS;
      expect(await verdict(deps, await acme.sign(claims()))).toEqual(person());
    }
    expect(await verdict(isolate(), await acme.sign(claims()))).toEqual(person());
    expect(deps.lines.filter(({ event }) => event === "key_set_unavailable").length).toBeGreaterThan(0);
  });

  it("a key set unreachable for more than a day is not used", async ({ isolate, acme, claims }) => {
    const deps = isolate();
    await ask(deps, await acme.sign(claims()));
    keys.serve(null);
    now += 25 * 60 * MINUTE_MS;
    expect(await verdict(deps, await acme.sign(claims()))).toBe(503);
  });

  it("a key set that was never fetched gives a retry time", async ({ isolate, acme, claims }) => {
    keys.serve(null);
    const deps = isolate();
    expect(await verdict(deps, await acme.sign(claims()))).toBe(503);
    keys.serve([acme.jwk]);
    now += MINUTE_MS;
    expect(await verdict(deps, await acme.sign(claims()))).toEqual(person());
  });

  it("a key set is fetched once in 30 seconds for unknown keys", async ({ isolate, acme, claims }) => {
    const deps = isolate();
    await ask(deps, await acme.sign(claims()));
    now += 31_000;
    const unknown = async (n: number) => verdict(deps, await acme.sign(claims(), { kid: `unknown-${n}` }));
    expect(await Promise.all(Array.from({ length: 20 }, (_, n) => unknown(n)))).toEqual(Array(20).fill(401));
    expect(keys.requests).toBe(2);
    now += 29_000;
    await unknown(21);
    expect(keys.requests).toBe(2);
    now += 2_000;
    await unknown(22);
    expect(keys.requests).toBe(3);
  });

  it("a key set's new key is found at once for all tokens that name it", async ({ isolate, acme, claims }) => {
    const deps = isolate();
    await ask(deps, await acme.sign(claims()));
    const next = await createIssuer("acme-next");
    keys.serve([acme.jwk, next.jwk]);
    now += 31_000;
    const tokens = await Promise.all(Array.from({ length: 10 }, () => next.sign(claims())));
    const verdicts = await Promise.all(tokens.map((token) => verdict(deps, token)));
    expect(verdicts).toEqual(Array(10).fill(person()));
    expect(keys.requests).toBe(2);
  });

  it.for(["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"])(
    "a token signed with %s is accepted, whether the key names the algorithm or not",
    async (algorithm, { isolate, claims, acme }) => {
      const issuer = await createIssuer("any", algorithm);
      const { alg: _, ...nameless } = issuer.jwk;
      for (const jwk of [issuer.jwk, nameless]) {
        keys.serve([acme.jwk, jwk]);
        expect(await verdict(isolate(), await issuer.sign(claims()))).toEqual(person());
      }
    },
  );

  it("a token that names Ed25519 is accepted with a key that names EdDSA, and the other way round", async ({
    isolate,
    claims,
  }) => {
    const issuer = await createIssuer("ed", "EdDSA");
    for (const alg of ["EdDSA", "Ed25519"]) {
      keys.serve([{ ...issuer.jwk, alg }]);
      const deps = isolate();
      for (const named of ["EdDSA", "Ed25519"]) {
        const signer = await createIssuer("ed", named, issuer);
        expect(await verdict(deps, await signer.sign(claims()))).toEqual(person());
      }
    }
  });

  it("a token without kid, or with a doubled one, is checked with each key of its type", async ({
    isolate,
    acme,
    globex,
    claims,
  }) => {
    const others = await Promise.all([createIssuer("one"), createIssuer("two")]);
    const nameless = (jwk: JWK): JWK => ({ ...jwk, kid: undefined as never });
    const jwks = [...others, globex, acme].map(({ jwk }) => jwk);
    keys.serve(jwks);
    expect(await verdict(isolate(), await acme.sign(claims(), { kid: undefined as never }))).toEqual(person());
    keys.serve(jwks.map((jwk) => ({ ...jwk, kid: "same" })));
    expect(await verdict(isolate(), await acme.sign(claims(), { kid: "same" }))).toEqual(person());
    keys.serve(jwks.map(nameless));
    expect(await verdict(isolate(), await acme.sign(claims()))).toEqual(person());
    keys.serve(others.map(({ jwk }) => nameless(jwk)));
    expect(await verdict(isolate(), await acme.sign(claims()))).toBe(401);
  });

  it("a token without kid is accepted with a key that has just been added", async ({ isolate, acme, claims }) => {
    const deps = isolate();
    await ask(deps, await acme.sign(claims()));
    const next = await createIssuer("acme-next");
    keys.serve([acme.jwk, next.jwk]);
    now += 31_000;
    expect(await verdict(deps, await next.sign(claims(), { kid: undefined as never }))).toEqual(person());
  });

  it("an unusable entry is logged and does not affect the other keys", async ({ isolate, acme, claims }) => {
    keys.serve([{ kty: "EC", crv: "P-256", x: "AA", y: "AA", kid: "broken" }, 7, acme.jwk]);
    const deps = isolate();
    expect(await verdict(deps, await acme.sign(claims()))).toEqual(person());
    const lines = deps.lines.filter(({ event }) => event === "key_unusable");
    expect(lines.map(({ key }) => key)).toEqual(["broken", "#1"]);
  });
});
