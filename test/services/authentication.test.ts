import { createHash } from "node:crypto";
import { beforeEach, describe, expect } from "vitest";
import { AppError } from "../../src/domain/errors.ts";
import { authorize } from "../../src/domain/authorization.ts";
import { Cache } from "../../src/isolate/cache.ts";
import { authenticate, readCredential } from "../../src/services/authentication.ts";
import { startDatabase } from "../support/database.ts";
import { ACME, ACME_KEY } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { createKey, revokeKey } from "../../src/services/api-key.ts";
import type { KeyOrder } from "../../src/services/api-key.ts";
import { databaseTest } from "../support/fixtures.ts";

const NOW = Date.UTC(2026, 10, 22, 12);

const it = databaseTest().extend(
  "isolate",
  { scope: "file" },
  ({ database }) =>
    (env: Record<string, string> = {}): TestDeps =>
      createTestDeps({ endpoint: database.endpoint, env, now: () => now }),
);
let now = NOW;
beforeEach(() => {
  now = NOW;
});

const make = (deps: TestDeps, order: Partial<KeyOrder> = {}) =>
  createKey(deps, { brandId: ACME, name: "test", scopes: [], expiresAt: null, ...order });
const call = async (deps: TestDeps, key: string) => authenticate(deps, await readCredential(deps, `Bearer ${key}`));
const verdict = (deps: TestDeps, key: string): Promise<unknown> =>
  call(deps, key).catch((error: unknown) => (error instanceof AppError ? error.status : error));

describe("made-up keys", () => {
  it("made-up keys are looked up 64 at a time, and the others are refused with a retry time", async ({
    isolate,
    database,
  }) => {
    const deps = isolate();
    database.forget();
    const keys = Array.from({ length: 300 }, (_, n) => `parley_${"a".repeat(12)}_${String(n).padStart(43, "0")}`);
    const verdicts = await Promise.all(keys.map((key) => verdict(deps, key)));
    expect(verdicts.filter((status) => status === 401)).toHaveLength(64);
    expect(verdicts.filter((status) => status === 429)).toHaveLength(236);
    expect(deps.caches.apiKeys.counters.size).toBe(64);
  });
});

describe("a brand's key", () => {
  it("a key identifies its brand, and only its hash is stored", async ({ isolate, database }) => {
    const deps = isolate();
    const { key, keyId } = await make(deps);
    expect(await call(deps, key)).toMatchObject({ kind: "brand", brandId: ACME, scopes: [] });
    const rows = await database.query("select * from api_keys where prefix = $1", [`parley_${keyId}`]);
    expect(rows).toHaveLength(1);
    expect(rows[0]?.["secret_hash"]).toBe(createHash("sha256").update(key).digest("hex"));
    expect(JSON.stringify(rows)).not.toContain(key.slice(key.lastIndexOf("_") + 1));
  });

  it("a hash can't be used as a key when a pepper is set", async ({ isolate, database }) => {
    const peppered = isolate({ API_KEY_PEPPER: "a-pepper-of-more-than-thirty-two-characters" });
    const { key, keyId } = await make(peppered);
    const [row] = await database.query("select secret_hash from api_keys where prefix = $1", [`parley_${keyId}`]);
    expect(row?.["secret_hash"]).not.toBe(createHash("sha256").update(key).digest("hex"));
    expect(await verdict(peppered, key)).toMatchObject({ brandId: ACME });
    expect(await verdict(isolate(), key)).toBe(401);
  });

  it("the demo's key is accepted in development only, with or without a pepper", async ({ isolate }) => {
    const pepper = "a-pepper-of-more-than-thirty-two-characters";
    expect(await verdict(isolate(), ACME_KEY)).toMatchObject({ brandId: ACME });
    expect(await verdict(isolate({ API_KEY_PEPPER: pepper }), ACME_KEY)).toMatchObject({ brandId: ACME });
    const production = { ENVIRONMENT: "production", JWT_SECRET: "a-secret-of-more-than-thirty-two-characters" };
    expect(await verdict(isolate(production), ACME_KEY)).toBe(401);
  });

  it("a changed, truncated or invented key is refused", async ({ isolate }) => {
    const deps = isolate();
    const { key } = await make(deps);
    const flipped = key.endsWith("A") ? `${key.slice(0, -1)}B` : `${key.slice(0, -1)}A`;
    for (const forged of [flipped, key.slice(0, -1), "parley_", "parley_x_y"])
      expect(await verdict(deps, forged)).toBe(401);
  });

  it("an expired key is refused at once, also from the cache", async ({ isolate }) => {
    const deps = isolate();
    const { key } = await make(deps, { expiresAt: NOW + 1_000 });
    expect(await verdict(deps, key)).toMatchObject({ brandId: ACME });
    now += 1_000;
    expect(await verdict(deps, key)).toBe(401);
  });

  it("a revoked key is refused within a minute by caches and at once elsewhere", async ({ isolate }) => {
    const deps = isolate();
    const { key, keyId } = await make(deps);
    await call(deps, key);
    await revokeKey(deps, keyId);
    expect(await verdict(isolate(), key)).toBe(401);
    now += 60_000;
    expect(await verdict(deps, key)).toBe(401);
  });

  it("a cached key is accepted while Postgres is unreachable", async () => {
    const proxy = await startDatabase({ seeded: true });
    const deps = createTestDeps({ endpoint: proxy.endpoint, now: () => now });
    const { key } = await make(deps);
    const staleIfError = { ms: 3_600_000, when: (error: unknown) => error instanceof AppError };
    deps.caches.apiKeys = new Cache({
      ttlMs: 60_000,
      maxEntries: 10,
      joinTimeoutMs: 2_000,
      staleIfError,
      now: () => now,
    });
    await call(deps, key);
    await proxy.close();
    now += 61_000;
    expect(await verdict(deps, key)).toMatchObject({ brandId: ACME });
    now += 3_600_000;
    expect(await verdict(deps, key)).toBe(500);
  });

  it("a key with scopes may do what they say, and one without may do everything", async ({ isolate }) => {
    const deps = isolate();
    const may = async (scopes: string[], action: "conversations:read" | "broadcasts:write") => {
      const principal = await call(deps, (await make(deps, { scopes })).key);
      authorize(principal, action, { type: "brand", id: ACME, brandId: ACME });
    };
    await may(["conversations:read"], "conversations:read");
    await may([], "broadcasts:write");
    await expect(may(["conversations:read"], "broadcasts:write")).rejects.toMatchObject({
      code: "FORBIDDEN",
      details: { scope: "broadcasts:write" },
    });
  });

  it("a key is not made with an unknown scope or for an unknown brand", async ({ isolate }) => {
    const deps = isolate();
    await expect(make(deps, { scopes: ["everything"] })).rejects.toMatchObject({ code: "VALIDATION_ERROR" });
    await expect(make(deps, { brandId: crypto.randomUUID() })).rejects.toMatchObject({ code: "RESOURCE_NOT_FOUND" });
    await expect(revokeKey(deps, "nothing")).rejects.toMatchObject({ code: "RESOURCE_NOT_FOUND" });
  });

  it("a key's last use is stored to the hour without delaying a request", async ({ isolate, database }) => {
    const deps = isolate();
    const background: Promise<unknown>[] = [];
    deps.background = (work) => void background.push(work);
    const { key, keyId } = await make(deps);
    const lastUsed = async () => {
      await Promise.all(background.splice(0));
      const [row] = await database.query(
        "select extract(epoch from last_used_at) as at from api_keys where prefix = $1",
        [`parley_${keyId}`],
      );
      return row?.["at"] === null ? null : Number(row?.["at"]) * 1000;
    };
    await call(deps, key);
    expect(background).toHaveLength(1);
    expect(await lastUsed()).toBe(NOW);
    now += 30 * 60_000;
    await call(deps, key);
    expect(await lastUsed()).toBe(NOW);
    now += 31 * 60_000;
    await call(deps, key);
    expect(await lastUsed()).toBe(NOW + 61 * 60_000);
  });
});
