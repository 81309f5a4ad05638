import { describe, expect, it } from "vitest";
import { render } from "./report.ts";
import type { Figures } from "./report.ts";

/** Figures of a run without violations. */
function good(): Figures {
  const rate = (name: string, floor: Figures["rates"][number]["floor"]) => ({
    ...{ name, floor, floorMs: 2, ms: 2 },
    perSecond: { floor: 100, ours: 100 },
  });
  return {
    machine: { cores: 2, model: "one", isPinned: true, isPostgres: true },
    trips: { first: 2, warm: 0 },
    rates: [
      rate("warm message", "turn"),
      rate("warm message, 16 conversations", "turn"),
      rate("first contact", "first-turn"),
      rate("duplicate", "object"),
    ],
    sustained: {
      ...{ sent: 6_000, errors: 0, p50: 10, p95: 20, p99: 30, transactionsPerMessage: 0.009, ledgerLagP95: 900 },
      floor: { p50: 5, p95: 10, p99: 15 },
    },
    endured: {
      held: [100, 101, 102, 103, 90].map((mega, index) => ({
        ...{ messages: 1_000 * (index + 1), resident: 5e8, heap: mega * 1e6 },
      })),
      transactionsPerMessage: 0.009,
    },
    size: { bytes: 2_000, gzip: 1_000 },
    start: { parley: 200, floor: 100 },
    crowd: { sent: 1_000, answered: 900, limited: 100, wrong: [], rows: 900 },
  };
}

/** Whether the run fails, and the report's line, when one figure is wrong. */
function spoilt(spoil: (figures: Figures) => void, name: RegExp): [broken: boolean, line: string | undefined] {
  const figures = good();
  spoil(figures);
  const { text, broken } = render(figures);
  return [broken, text.split("\n").find((line) => name.test(line))];
}

describe("a bench run", () => {
  it("a bench run without a broken promise passes and reports each check on a line", () => {
    const { text, broken } = render(good());
    expect(broken).toBe(false);
    expect(text).not.toMatch(/missed|violated/);
  });

  it.each<[string, RegExp, (figures: Figures) => void]>([
    ["[G3.2.1] a p50 of half a second", /p50 of 100 requests/, ({ sustained }) => void (sustained.p50 = 500)],
    ["[G3.2.2] a p95 of two seconds", /p95 of 100 requests/, ({ sustained }) => void (sustained.p95 = 2_000)],
    ["[G3.2.3] a p99 of five seconds", /p99 of 100 requests/, ({ sustained }) => void (sustained.p99 = 5_000)],
    ["[G3.5.1] a first message of a second", /first message/, ({ rates }) => void (rates[2]!.ms = 1_000)],
    ["[G3.4.1] memory that isn't given back", /heap released/, ({ endured }) => void (endured.held[4]!.heap *= 1.3)],
    [
      "[G3.4.2] memory that still grows at the end",
      /heap stable/,
      ({ endured }) => void (endured.held[3]!.heap *= 1.2),
    ],
    ["an error", /no error/, ({ sustained }) => void (sustained.errors = 1)],
    ["a wrong answer in a burst", /in a second/, ({ crowd }) => crowd.wrong.push({ status: 503, ms: 1, body: "" })],
    ["a lost row", /in a second/, ({ crowd }) => void (crowd.rows = 899)],
    ["a third round trip", /round trips/, ({ trips }) => void (trips.first = 3)],
  ])("a bench run fails for %s", (_what, line, spoil) => {
    expect(spoilt(spoil, line)).toEqual([true, expect.stringContaining("**violated**")]);
  });

  it.each<[string, RegExp, (figures: Figures) => void]>([
    ["a warm message", /^\| warm message: /, ({ rates }) => void (rates[0]!.perSecond!.ours = 74)],
    ["a duplicate", /^\| duplicate: /, ({ rates }) => void (rates[3]!.perSecond!.ours = 79)],
    ["a transaction too many", /transactions/, ({ endured }) => void (endured.transactionsPerMessage = 0.011)],
    ["a wide spread", /its p99/, ({ sustained }) => void (sustained.p99 = 50)],
  ])("a bench run reports a missed goal (%s) and still passes", (_what, line, spoil) => {
    expect(spoilt(spoil, line)).toEqual([false, expect.stringContaining("missed")]);
  });
});
