import { expect } from "vitest";
import { RateLimits } from "../../src/isolate/rate-limits.ts";
import { limitCaller } from "../../src/services/rate-limit.ts";
import { refill, take } from "../../src/domain/token-bucket.ts";
import type { Bucket } from "../../src/domain/token-bucket.ts";
import type { Caller } from "../../src/domain/principal.ts";
import { createTestApp } from "../support/contract.ts";
import { ACME, ACME_KEY, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

const it = databaseTest();

const ANN: Caller = { kind: "user", userId: "ann", brandId: ACME };
const SERVER: Caller = { kind: "brand", brandId: ACME, keyId: "k", scopes: [] };

function isolate() {
  const deps = createTestDeps({ env: { RATE_LIMIT_USER_PER_MINUTE: "6", RATE_LIMIT_INSTANCE_PER_MINUTE: "20" } });
  const buckets = new Map<string, Bucket>();
  deps.caches.rateLimits = new RateLimits((key) => ({
    lease: async (wanted, perMinute) => {
      const { bucket, ...grant } = take(refill(buckets.get(key) ?? null, perMinute, 0), wanted, perMinute);
      buckets.set(key, bucket);
      return grant;
    },
  }));
  return deps;
}

const allowed = async (count: number, call: () => Promise<void>): Promise<number> => {
  const outcomes = await Promise.allSettled(Array.from({ length: count }, call));
  return outcomes.filter(({ status }) => status === "fulfilled").length;
};

it.each([
  ["a user's writes", ANN, "write", 6],
  ["a user's reads", ANN, "read", 60],
  ["a brand's writes", SERVER, "write", 20],
  ["a brand's reads", SERVER, "read", 200],
] as const)("%s are limited per minute", async (_title, caller, kind, limit) => {
  const deps = isolate();
  expect(await allowed(250, () => limitCaller(deps, caller, kind))).toBe(limit);
  await expect(limitCaller(deps, caller, kind)).rejects.toMatchObject({
    code: "RATE_LIMITED",
    details: { scope: caller.kind, retry_after_ms: expect.any(Number) },
  });
});

it("one user's requests spend no other user's rate", async () => {
  const deps = isolate();
  await allowed(20, () => limitCaller(deps, ANN, "write"));
  expect(await allowed(20, () => limitCaller(deps, { ...ANN, userId: "bob" }, "write"))).toBe(6);
});

it("transcript messages of one request count as many", async () => {
  const deps = isolate();
  await limitCaller(deps, SERVER, "write", 18);
  expect(await allowed(5, () => limitCaller(deps, SERVER, "write"))).toBe(2);
});

const SESSION = "f80f8552-b75d-8639-b284-b1b3aeb553a3";
const item = { role: "user", content: "Hello", timestamp: "2026-11-22T10:00:00Z" };

it.for([
  ["GET", "/api/v1/conversations", undefined],
  ["GET", `/api/v1/conversations/${SESSION}`, undefined],
  ["GET", `/api/v1/conversations/${SESSION}/messages`, undefined],
  ["GET", `/api/v1/conversations/${SESSION}/messages/${SESSION}`, undefined],
  ["GET", `/api/v1/conversations/${SESSION}/usage`, undefined],
  ["GET", `/api/v1/conversations/${SESSION}/usage/records`, undefined],
  ["POST", "/api/v1/conversations/start", { instance_id: INSTANCE.chat }],
  ["POST", `/api/v1/conversations/${SESSION}/messages`, item],
  ["POST", `/api/v1/conversations/${SESSION}/expire`, undefined],
  ["DELETE", `/api/v1/conversations/${SESSION}`, undefined],
] as const)("%s %s is refused when the caller's rate is spent", async ([method, path, body], { database }) => {
  const deps = createTestDeps({ endpoint: database.endpoint });
  deps.caches.rateLimits = new RateLimits(() => ({ lease: async () => ({ granted: 0, retryAfterMs: 2_000 }) }));
  const response = await createTestApp(() => deps).request(path, {
    method,
    headers: { Authorization: `Bearer ${ACME_KEY}`, "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  expect([response.status, response.headers.get("Retry-After")]).toEqual([429, "2"]);
});

it("a transcript spends the rate of each of its messages", async ({ database }) => {
  const deps = createTestDeps({ endpoint: database.endpoint });
  let spent = 0;
  deps.caches.rateLimits.take = async (_key, _perMinute, count) => {
    spent += count ?? 1;
    return { kind: "allowed", release: () => undefined };
  };
  await createTestApp(() => deps).request(`/api/v1/conversations/${SESSION}/messages`, {
    method: "POST",
    headers: { Authorization: `Bearer ${ACME_KEY}`, "Content-Type": "application/json" },
    body: JSON.stringify(Array.from({ length: 40 }, () => item)),
  });
  expect(spent).toBe(40);
});
