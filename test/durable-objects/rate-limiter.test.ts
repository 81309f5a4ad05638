import { evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { expect, it } from "vitest";

const limiter = () => env.RATE_LIMITERS.getByName(crypto.randomUUID());

it("a rate limit is not refilled when its object leaves memory", async () => {
  const stub = limiter();
  expect(await stub.lease(40, 50)).toEqual({ granted: 40, retryAfterMs: 0 });
  await evictDurableObject(stub);
  expect((await stub.lease(40, 50)).granted).toBeLessThan(20);
});

it("a rate limit that is full again leaves nothing in storage", async () => {
  const stub = limiter();
  await stub.lease(1, 50);
  const stored = () => runInDurableObject(stub, async (_object, { storage }) => [...storage.kv.list()].length);
  expect(await stored()).toBe(1);
  await runDurableObjectAlarm(stub);
  expect(await stored()).toBe(1);
  await runInDurableObject(stub, async (_object, { storage }) => {
    storage.kv.put("bucket", { tokens: 49, at: Date.now() - 120_001 });
  });
  await runDurableObjectAlarm(stub);
  expect(await stored()).toBe(0);
});
