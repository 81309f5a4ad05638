import { beforeEach, describe, expect, it } from "vitest";
import { refill, take } from "../../src/domain/token-bucket.ts";
import type { Bucket } from "../../src/domain/token-bucket.ts";
import { RateLimits } from "../../src/isolate/rate-limits.ts";

let now = 0;
let asked = 0;
let buckets: Map<string, Bucket>;

beforeEach(() => {
  now = 1_000_000;
  asked = 0;
  buckets = new Map();
});

/** The instance's limiter, with a clock of ours. */
const limiter = (instanceId: string) => ({
  lease: async (wanted: number, perMinute: number) => {
    asked += 1;
    const { bucket, ...lease } = take(refill(buckets.get(instanceId) ?? null, perMinute, now), wanted, perMinute);
    buckets.set(instanceId, bucket);
    return lease;
  },
});

const spend = async (allowances: RateLimits, messages: number, perMinute: number, instanceId = "a") => {
  const taken = await Promise.all(Array.from({ length: messages }, () => allowances.take(instanceId, perMinute)));
  return taken.filter(({ kind }) => kind === "allowed").length;
};

describe("an instance's rate", () => {
  it("an instance's messages spend its rate and are then refused with a retry time [G4.4.2]", async () => {
    const isolate = new RateLimits(limiter);
    expect(await spend(isolate, 8, 5)).toBe(5);
    expect(await isolate.take("a", 5)).toEqual({ kind: "exhausted", retryAfterMs: 12_000 });
    now += 12_000;
    expect(await spend(isolate, 3, 5)).toBe(1);
  });

  it("an instance's rate holds across isolates [G4.4.3]", async () => {
    const isolates = Array.from({ length: 4 }, () => new RateLimits(limiter));
    const spent = await Promise.all(isolates.map((isolate) => spend(isolate, 500, 1_000)));
    expect(spent.reduce((sum, count) => sum + count, 0)).toBeLessThanOrEqual(1_000);
  });

  it("a busy instance does not lease at each message", async () => {
    const isolate = new RateLimits(limiter);
    expect(await sequentially(isolate, 600, 6_000)).toBe(600);
    expect(asked).toBe(10);
  });

  it("a repeated message does not spend the rate", async () => {
    const isolate = new RateLimits(limiter);
    for (let repeat = 0; repeat < 20; repeat += 1) {
      const allowance = await isolate.take("a", 5);
      if (allowance.kind === "allowed") allowance.release();
    }
    expect(await spend(isolate, 8, 5)).toBe(5);
  });

  it("a request that counts several times spends as many tokens, at most one minute's", async () => {
    const isolate = new RateLimits(limiter);
    expect(await isolate.take("a", 10, 8)).toMatchObject({ kind: "allowed" });
    expect(await isolate.take("a", 10, 4)).toEqual({ kind: "exhausted", retryAfterMs: 12_000 });
    expect(await spend(isolate, 3, 10)).toBe(2);
    now += 60_000;
    expect(await isolate.take("a", 10, 100)).toMatchObject({ kind: "allowed" });
    expect(await spend(isolate, 1, 10)).toBe(0);
  });

  it("each instance has its own rate", async () => {
    const isolate = new RateLimits(limiter);
    await spend(isolate, 5, 5, "a");
    expect(await spend(isolate, 8, 5, "b")).toBe(5);
  });

  it("a disabled rate limit leases nothing", async () => {
    const isolate = new RateLimits(limiter);
    expect(await spend(isolate, 50, 0)).toBe(50);
    expect(asked).toBe(0);
  });

  it("a rate does not grow when the clock steps back, nor beyond one minute's amount", () => {
    const empty = { tokens: 0, at: now };
    expect(refill(empty, 60, now - 60_000)).toEqual(empty);
    expect(refill(empty, 60, now + 3_600_000).tokens).toBe(60);
  });
});

async function sequentially(isolate: RateLimits, messages: number, perMinute: number): Promise<number> {
  let allowed = 0;
  for (let sent = 0; sent < messages; sent += 1) {
    if ((await isolate.take("a", perMinute)).kind === "allowed") allowed += 1;
  }
  return allowed;
}
