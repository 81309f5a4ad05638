import { beforeEach, describe, expect, it } from "vitest";
import { LedgerNotifier } from "../../../durable-objects/conversation/ledger-notifier.ts";
import type { PendingEntries } from "../../../src/domain/ledger.ts";

/** When the oldest pending entry was added; null when none is pending. */
let oldest: number | null = null;
let announced = 0;
let lookedUp: PendingEntries[] = [];
let notifier: LedgerNotifier;

const pending = { address: "address", generation: "g", entries: [{ position: 1, messageId: "m" }] };

beforeEach(() => {
  oldest = null;
  announced = 0;
  lookedUp = [];
  notifier = new LedgerNotifier({
    outbox: {
      oldestPendingAt: () => oldest,
      pendingEntries: () => (oldest === null ? null : pending),
    },
    address: "address",
    announce: () => void (announced += 1),
    lookUp: (entries) => void lookedUp.push(entries),
  });
});

describe("entries that no caller carries", () => {
  it("entries without a carrier are announced once until the ledger pulls them", () => {
    notifier.notify(0);
    notifier.notify(1);
    expect(announced).toBe(1);
    notifier.acknowledged();
    notifier.notify(2);
    expect(announced).toBe(2);
  });

  it("a lost announcement is followed by look-ups at growing pauses of at most 30 seconds", () => {
    oldest = 0;
    const pauses: number[] = [notifier.notify(0)];
    for (let repeat = 0; repeat < 8; repeat += 1) pauses.push((notifier.repeat(100_000) ?? 0) - 100_000);
    expect([announced, lookedUp.length]).toEqual([1, 8]);
    expect(pauses[0]).toBeLessThanOrEqual(11_250);
    expect(pauses[0]).toBeGreaterThanOrEqual(9_000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(30_000);
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(24_000);
  });

  it("the pauses start over once the ledger has pulled", () => {
    oldest = 0;
    for (let repeat = 0; repeat < 8; repeat += 1) notifier.repeat(100_000);
    notifier.acknowledged();
    expect(notifier.notify(0)).toBeLessThanOrEqual(11_250);
  });
});

describe("entries that travel with their answers", () => {
  it("carried entries are neither announced nor looked up before the ledger can have written them", () => {
    oldest = 50_000;
    expect(notifier.carried(50_000)).toBeGreaterThanOrEqual(65_000);
    const next = notifier.repeat(60_000) ?? 0;
    expect([announced, lookedUp]).toEqual([0, []]);
    expect(next).toBeGreaterThanOrEqual(65_000);
    expect(next).toBeLessThanOrEqual(70_000);
  });

  it("carried entries are looked up when no confirmation has come", () => {
    oldest = 50_000;
    expect(notifier.repeat(65_001)).not.toBeNull();
    expect([announced, lookedUp]).toEqual([0, [pending]]);
  });

  it("carried entries are looked up at once by an incarnation that did not hand them over", () => {
    oldest = 0;
    notifier.repeat(1_000_000);
    expect(lookedUp).toEqual([pending]);
  });
});

it("a conversation whose entries are all in Postgres asks for no alarm", () => {
  expect(notifier.repeat(0)).toBeNull();
  expect([announced, lookedUp]).toEqual([0, []]);
});
