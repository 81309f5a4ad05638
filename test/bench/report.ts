import { table } from "../support/table.ts";
import type { Burst, Endured, Memory, Sustained } from "./endurance.ts";
import type { Rate } from "./rates.ts";
import { FLOORS } from "./scenarios.ts";
import type { BundleSize } from "./start.ts";

export type Figures = {
  machine: { cores: number; model: string; isPinned: boolean; isPostgres: boolean };
  trips: { first: number; warm: number };
  rates: Rate[];
  sustained: Sustained;
  endured: Endured;
  size: BundleSize;
  /** Milliseconds. */
  start: { parley: number; floor: number };
  crowd: Burst;
};

/**
 * A violated `guarantee` fails the run. Goals depend on the machine and may be missed; times are guarantees only with limits
 * that a machine ten times slower still meets.
 */
type Goal = { name: string; seen: string; isMet: boolean; guarantee: boolean };

const ms = (value: number): string => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
const mb = (bytes: number): string => `${Math.round(bytes / 1_000_000)} MB`;
const times = ({ p50, p95, p99 }: Sustained["floor"]): string => [p50, p95, p99].map(ms).join(", ");
const ratio = ({ perSecond, floorMs, ms }: Rate): number =>
  perSecond === null ? floorMs / ms : perSecond.ours / perSecond.floor;

function goalsOf({ rates, sustained, endured, crowd, trips }: Figures): Goal[] {
  const named = (name: string) => rates.find((rate) => rate.name === name);
  const atLeast = (name: string, wanted: number): Goal => {
    const rate = named(name);
    const seen = rate ? ratio(rate) : Number.NaN;
    return { name: `${name}: ${wanted} of its floor`, seen: seen.toFixed(2), isMet: seen >= wanted, guarantee: false };
  };
  const [first, , half, late, rested] = endured.held;
  const growth = (from: Memory | undefined, to: Memory | undefined) =>
    (to?.heap ?? Number.NaN) / (from?.heap ?? Number.NaN);
  const spread = sustained.p99 / sustained.p50;
  const within = (name: string, seen: number, limit: number): Goal => ({
    name: `${name} under ${limit} ms`,
    seen: ms(seen),
    isMet: seen < limit,
    guarantee: true,
  });
  return [
    atLeast("warm message", 0.75),
    atLeast("warm message, 16 conversations", 0.75),
    atLeast("duplicate", 0.8),
    {
      name: "transactions per message under load: at most 0.01",
      seen: endured.transactionsPerMessage.toFixed(4),
      isMet: endured.transactionsPerMessage <= 0.01,
      guarantee: false,
    },
    {
      name: "round trips before the answer: 2 for a first contact, 0 warm",
      seen: `${trips.first} and ${trips.warm}`,
      isMet: trips.first === 2 && trips.warm === 0,
      guarantee: true,
    },
    {
      name: "100 requests a second, no error",
      seen: `${sustained.errors} errors of ${sustained.sent}`,
      isMet: sustained.errors === 0,
      guarantee: true,
    },
    { name: "its p99 under 5 times its p50", seen: spread.toFixed(1), isMet: spread < 5, guarantee: false },
    {
      name: "1,000 requests in a second: each answered right, none lost",
      seen: `${crowd.answered} x 200, ${crowd.limited} x 429, ${crowd.wrong.length} wrong; ${crowd.rows} rows`,
      isMet: crowd.wrong.length === 0 && crowd.rows === crowd.answered,
      guarantee: true,
    },
    within("p50 of 100 requests a second", sustained.p50, 500),
    within("p95 of 100 requests a second", sustained.p95, 2_000),
    within("p99 of 100 requests a second", sustained.p99, 5_000),
    within("first message of a new user", named("first contact")?.ms ?? Number.NaN, 1_000),
    {
      name: `heap stable: ${late?.messages} messages against ${half?.messages}, at most 1.1`,
      seen: growth(half, late).toFixed(2),
      isMet: growth(half, late) <= 1.1,
      guarantee: true,
    },
    {
      name: `heap released: after a minute of rest against ${first?.messages} messages, at most 1.1`,
      seen: growth(first, rested).toFixed(2),
      isMet: growth(first, rested) <= 1.1,
      guarantee: true,
    },
    {
      name: `heap flat: ${late?.messages} messages against ${first?.messages}, at most 1.25`,
      seen: growth(first, late).toFixed(2),
      isMet: growth(first, late) <= 1.25,
      guarantee: false,
    },
  ];
}

/** Renders the figures as Markdown; `broken` when a guarantee is violated. */
export function render(figures: Figures): { text: string; broken: boolean } {
  const { machine, rates, sustained, endured, size, start, crowd } = figures;
  const goals = goalsOf(figures);
  const text = [
    "# npm run bench",
    `${machine.cores} x ${machine.model}; the runtime ${machine.isPinned ? "has a core to itself" : "shares its cores with everything else"}; ` +
      `${machine.isPostgres ? "a Postgres server" : "the embedded Postgres"}. Medians of rounds that alternate with the floor. ` +
      "Shared machines are noisy: ratios are comparable, times are not.",
    "## Beside the floor",
    "Rates of sixteen callers; times of one sequential caller. A ratio of 1 means no cost beyond the floor.",
    table(
      ["", "floor", "floor /s", "/s", "ratio", "floor p50", "p50"],
      rates.map((rate) => [
        rate.name,
        FLOORS[rate.floor],
        rate.perSecond?.floor.toFixed(0) ?? "-",
        rate.perSecond?.ours.toFixed(0) ?? "-",
        `${ratio(rate).toFixed(2)}${rate.perSecond === null ? " (p50)" : ""}`,
        ms(rate.floorMs),
        ms(rate.ms),
      ]),
    ),
    "## Goals",
    table(
      ["goal", "seen", ""],
      goals.map(({ name, seen, isMet, guarantee }) => [
        name,
        seen,
        isMet ? "met" : guarantee ? "**violated**" : "missed",
      ]),
    ),
    "## Figures",
    table(
      ["", ""],
      [
        ["100 a second: p50, p95, p99", times(sustained)],
        ["the floor's under the same load", times(sustained.floor)],
        ["transactions per message at 100 a second", sustained.transactionsPerMessage.toFixed(4)],
        ["ledger lag p95, to a quarter of a second", ms(sustained.ledgerLagP95)],
        ["bundle", `${Math.round(size.gzip / 1024)} KiB gzip, ${Math.round(size.bytes / 1024)} KiB`],
        ["start of the runtime to the first answer", `${ms(start.parley)}; the floor's ${ms(start.floor)}`],
        ...endured.held.map(({ messages, resident, heap }, index): [string, string] => [
          `memory after ${messages} messages${index === endured.held.length - 1 ? " and a minute of rest" : ""}`,
          `${mb(heap)} of heap, ${mb(resident)} resident`,
        ]),
        ["burst: first wrong answer", crowd.wrong[0] ? JSON.stringify(crowd.wrong[0]).slice(0, 200) : "none"],
      ],
    ),
    "",
  ].join("\n\n");
  return { text, broken: goals.some(({ guarantee, isMet }) => guarantee && !isMet) };
}
