import { closedLoop, median, openLoop } from "./load.ts";
import type { Call, Sample } from "./load.ts";
import { floors } from "./scenarios.ts";
import type { Floor, Scenario } from "./scenarios.ts";
import type { Stage } from "./stage.ts";

/** Medians over the rounds: times of one sequential caller, rates of sixteen. */
export type Rate = {
  name: string;
  floor: Floor;
  floorMs: number;
  ms: number;
  /** null where the response precedes the work. */
  perSecond: { floor: number; ours: number } | null;
};

type Options = { rounds: number; ms: number };
type Round = { ms: number; perSecond: number };

const CALLERS = 16;

/** Measures each scenario beside its floor in alternating order. Throws on a wrong response. */
export async function measureRates(stage: Stage, list: readonly Scenario[], options: Options): Promise<Rate[]> {
  const bare = floors(stage);
  const measured = list.map((scenario) => ({ scenario, ours: [] as Round[], floor: [] as Round[] }));
  for (let round = -1; round < options.rounds; round += 1) {
    for (const { scenario, ours, floor } of measured) {
      const runs: [Round[], () => Call, number][] = [
        [floor, bare[scenario.floor], 200],
        [ours, scenario.next, scenario.status],
      ];
      for (const [rounds, next, status] of round % 2 === 0 ? runs : runs.toReversed()) {
        const result = await measure(next, status, { ...options, pace: scenario.pace });
        // The first round is a warm-up.
        if (round >= 0) rounds.push(result);
      }
    }
  }
  return measured.map(({ scenario: { name, floor: floorKind, pace }, ours, floor }) => ({
    ...{ name, floor: floorKind },
    floorMs: median(floor.map(({ ms }) => ms)),
    ms: median(ours.map(({ ms }) => ms)),
    perSecond:
      pace === undefined
        ? {
            floor: median(floor.map(({ perSecond }) => perSecond)),
            ours: median(ours.map(({ perSecond }) => perSecond)),
          }
        : null,
  }));
}

async function measure(
  next: () => Call,
  status: number,
  { ms, pace }: { ms: number; pace: number | undefined },
): Promise<Round> {
  const right = (samples: Sample[]) => {
    const wrong = samples.find((sample) => sample.status !== status);
    if (wrong) throw new Error(`${next().url} answered ${wrong.status}: ${wrong.body.slice(0, 300)}`);
    return median(samples.map((sample) => sample.ms));
  };
  if (pace !== undefined) {
    return { ms: right(await openLoop(next, { perSecond: pace, seconds: (2 * ms) / 1000 })), perSecond: Number.NaN };
  }
  const alone = right((await closedLoop(next, { callers: 1, ms })).samples);
  const { samples, perSecond } = await closedLoop(next, { callers: CALLERS, ms });
  right(samples);
  return { ms: alone, perSecond };
}
