import { describe, expect, it, vi } from "vitest";
import { Cache } from "../../src/isolate/cache.ts";

const TTL = 1_000;

function start({ maxEntries = 10, joinTimeoutMs = 5_000 } = {}) {
  const clock = { now: 0 };
  return { clock, cache: new Cache<string | null>({ ttlMs: TTL, maxEntries, joinTimeoutMs, now: () => clock.now }) };
}

/** Loads that answer when they are told to. */
function loads() {
  const flights: PromiseWithResolvers<string | null>[] = [];
  const load = () => {
    const flight = Promise.withResolvers<string | null>();
    flights.push(flight);
    return flight.promise;
  };
  return { flights, load };
}

describe("what an isolate remembers", () => {
  it("concurrent look-ups of one key share a load", async () => {
    const { cache } = start();
    const { flights, load } = loads();
    const answers = Promise.all(Array.from({ length: 100 }, () => cache.get("a", load)));
    flights[0]?.resolve("value");
    expect([await answers, flights.length]).toEqual([Array.from({ length: 100 }, () => "value"), 1]);
  });

  it("an entry is valid until its time to live, to the millisecond", async () => {
    const { cache, clock } = start();
    await cache.get("a", async () => "first");
    clock.now = TTL - 1;
    expect(await cache.get("a", async () => "second")).toBe("first");
    clock.now = TTL;
    expect(await cache.get("a", async () => "second")).toBe("second");
  });

  it("a missing value is cached", async () => {
    const { cache } = start();
    await cache.get("a", async () => null);
    expect(await cache.get("a", () => Promise.reject(new Error("asked again")))).toBeNull();
  });

  it("a failed load is not cached, and all its waiters see the failure", async () => {
    const { cache } = start();
    const { flights, load } = loads();
    const waiting = Promise.allSettled([cache.get("a", load), cache.get("a", load)]);
    flights[0]?.reject(new Error("away"));
    expect((await waiting).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await cache.get("a", async () => "back")).toBe("back");
  });

  it("an invalidation is not overwritten by an earlier load", async () => {
    const { cache } = start();
    const { flights, load } = loads();
    const stale = cache.get("a", load);
    cache.invalidate("a");
    const fresh = cache.get("a", load);
    flights[1]?.resolve("fresh");
    await fresh;
    flights[0]?.resolve("stale");
    await stale;
    expect([await cache.get("a", load), flights.length]).toEqual(["fresh", 2]);
  });

  it("a newer value is not overwritten by an earlier load", async () => {
    const { cache } = start();
    const { flights, load } = loads();
    const stale = cache.get("a", load);
    cache.set("a", "newer");
    flights[0]?.resolve("older");
    await stale;
    expect(await cache.get("a", load)).toBe("newer");
  });

  it("a full invalidation also covers running loads", async () => {
    const { cache } = start();
    const { flights, load } = loads();
    await cache.get("a", async () => "value");
    const stale = cache.get("b", load);
    cache.invalidate();
    flights[0]?.resolve("stale");
    await stale;
    expect(cache.counters.size).toBe(0);
  });

  it("a load that never ends is started again once", async () => {
    vi.useFakeTimers();
    try {
      const { cache } = start({ joinTimeoutMs: 2_000 });
      const { flights, load } = loads();
      void cache.get("a", load);
      const waiting = Promise.all(Array.from({ length: 50 }, () => cache.get("a", load)));
      await vi.advanceTimersByTimeAsync(2_000);
      flights[1]?.resolve("value");
      expect([new Set(await waiting), flights.length, vi.getTimerCount()]).toEqual([new Set(["value"]), 2, 0]);
    } finally {
      vi.useRealTimers();
    }
  });

  it("the oldest entry is evicted at the size limit", async () => {
    const { cache } = start({ maxEntries: 2 });
    for (const key of ["a", "b", "c"]) await cache.get(key, async () => key);
    expect(cache.counters.size).toBe(2);
    expect(await cache.get("a", async () => "again")).toBe("again");
    expect(await cache.get("c", async () => "again")).toBe("c");
  });

  it("made-up keys evict each other and never a known value", async () => {
    const { cache } = start({ maxEntries: 10 });
    await cache.get("known", async () => "value");
    for (let n = 0; n < 100; n += 1) await cache.get(`made-up-${n}`, async () => null);
    expect(await cache.get("known", async () => "again")).toBe("value");
    expect(cache.counters.size).toBe(2);
  });

  it("a key whose thing is created later is no longer absent", async () => {
    const { cache } = start({ maxEntries: 10 });
    await cache.get("a", async () => null);
    cache.set("a", "value");
    expect([await cache.get("a", async () => "again"), cache.counters.size]).toEqual(["value", 1]);
    cache.set("a", null);
    expect([await cache.get("a", async () => "again"), cache.counters.size]).toEqual([null, 1]);
  });

  it("hits and misses are counted", async () => {
    const { cache } = start();
    for (const key of ["a", "a", "b", "a"]) await cache.get(key, async () => key);
    expect(cache.counters).toEqual({ hits: 2, misses: 2, size: 2 });
  });
});
