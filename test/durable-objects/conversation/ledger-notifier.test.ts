import { beforeEach, describe, expect, it } from "vitest";
import { LedgerNotifier } from "../../../durable-objects/conversation/ledger-notifier.ts";

let entries = 0;
let rings = 0;
let bell = new LedgerNotifier({ pendingCount: () => entries }, () => void (rings += 1));

beforeEach(() => {
  entries = 0;
  rings = 0;
  bell = new LedgerNotifier({ pendingCount: () => entries }, () => void (rings += 1));
});

describe("a conversation whose words wait for Postgres", () => {
  it("a conversation notifies the ledger once for any number of entries", () => {
    bell.notify(0);
    bell.notify(1);
    expect(rings).toBe(1);
    bell.acknowledged();
    bell.notify(2);
    expect(rings).toBe(2);
  });

  it("a notification is repeated when no consumer came, at growing pauses of at most 30 seconds", () => {
    entries = 1;
    const pauses: number[] = [bell.notify(0)];
    for (let repeat = 0; repeat < 8; repeat += 1) pauses.push(bell.repeat(0) ?? 0);
    expect(rings).toBe(9);
    expect(pauses[0]).toBeLessThanOrEqual(11_250);
    expect(pauses[0]).toBeGreaterThanOrEqual(9_000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(30_000);
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(15_000);
  });

  it("the pauses start over once a consumer came", () => {
    entries = 1;
    for (let repeat = 0; repeat < 8; repeat += 1) bell.repeat(0);
    bell.acknowledged();
    expect(bell.notify(0)).toBeLessThanOrEqual(11_250);
  });

  it("no notification is sent when all entries are written", () => {
    expect(bell.repeat(0)).toBeNull();
    expect(rings).toBe(0);
  });
});
