import { describe, expect, it } from "vitest";
import { Entrance } from "../../src/services/entrance.ts";

describe("a crowd of strangers", () => {
  it("is let in up to what can be answered in time; the others are told when to come again", async () => {
    const entrance = new Entrance(Date.now, 2);
    const gate = Promise.withResolvers<void>();
    const inside = [entrance.pass(() => gate.promise), entrance.pass(() => gate.promise)];
    await expect(entrance.pass(async () => "in")).rejects.toMatchObject({
      code: "RATE_LIMITED",
      details: { scope: "service", retry_after_ms: 1_000 },
    });
    gate.resolve();
    await Promise.all(inside);
    expect(await entrance.pass(async () => "in")).toBe("in");
  });

  it("gives up the place of whoever failed", async () => {
    const entrance = new Entrance(Date.now, 1);
    await expect(entrance.pass(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await entrance.pass(async () => "in")).toBe("in");
  });

  it("gets back the place of whoever was cut off and never says that they leave", async () => {
    let now = 0;
    const entrance = new Entrance(() => now, 1);
    void entrance.pass(() => new Promise(() => undefined));
    now = 10_000;
    await expect(entrance.pass(async () => "in")).rejects.toMatchObject({ code: "RATE_LIMITED" });
    now = 60_000;
    expect(await entrance.pass(async () => "in")).toBe("in");
  });
});
