import { afterEach, describe, expect, it, vi } from "vitest";
import { ConcurrencyLimit } from "../../src/isolate/concurrency-limit.ts";
import { findKnownUsers } from "../../src/services/identity.ts";
import { INSTANCE } from "../support/demo.ts";
import { createDeps } from "../../src/compose.ts";

describe("a crowd of strangers", () => {
  it("look-ups beyond the limit are refused with a retry time", async () => {
    const entrance = new ConcurrencyLimit(Date.now, 2);
    const gate = Promise.withResolvers<void>();
    const inside = [entrance.run(() => gate.promise), entrance.run(() => gate.promise)];
    await expect(entrance.run(async () => "in")).rejects.toMatchObject({
      code: "RATE_LIMITED",
      details: { scope: "service", retry_after_ms: 1_000 },
    });
    gate.resolve();
    await Promise.all(inside);
    expect(await entrance.run(async () => "in")).toBe("in");
  });

  it("a failed look-up frees its place", async () => {
    const entrance = new ConcurrencyLimit(Date.now, 1);
    await expect(entrance.run(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await entrance.run(async () => "in")).toBe("in");
  });

  it("an aborted look-up frees its place after a time", async () => {
    let now = 0;
    const entrance = new ConcurrencyLimit(() => now, 1);
    void entrance.run(() => new Promise(() => undefined));
    now = 10_000;
    await expect(entrance.run(async () => "in")).rejects.toMatchObject({ code: "RATE_LIMITED" });
    now = 60_000;
    expect(await entrance.run(async () => "in")).toBe("in");
  });
});

describe("whoever is known", () => {
  afterEach(() => void vi.useRealTimers());

  it("a cached value is used at its expiry while the limit is reached", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const variables = { ENVIRONMENT: "development", DATABASE_URL: "postgresql://crowd:crowd@localhost/crowd" };
    const { caches, config, addresses } = createDeps(variables as unknown as Env);
    const identifiers = [{ type: "device", value: "theirs" }] as const;
    const claims = { instanceId: INSTANCE.chat, channel: "api", tokenUserId: null, tokenDecides: false, identifiers };
    const ask = (read: () => Promise<unknown>) =>
      findKnownUsers({ read: read as never, caches, addresses }, claims as never);
    const known = await ask(async () => ["somebody"]);
    vi.setSystemTime(Date.now() + config.instanceCacheSeconds * 1_000 + 1);
    const crowd = () => caches.lookups.run(() => new Promise(() => undefined));
    for (let stranger = 0; stranger < 64; stranger += 1) void crowd();
    await expect(crowd()).rejects.toMatchObject({ code: "RATE_LIMITED" });
    expect(await ask(() => Promise.reject(new Error("is not asked")))).toEqual(known);
  });
});
