import { basename } from "node:path";
import { table } from "../support/table.ts";
import { median } from "./load.ts";
import { measureRates } from "./rates.ts";
import { scenarios } from "./scenarios.ts";
import { ROOT, setStage } from "./stage.ts";

const NAMES = ["warm message", "first contact", "duplicate"];

/**
 * Measures other trees of the project beside this one. Each has its own runtime and database; rounds alternate, so that
 * noise affects all alike. Returns a Markdown table of ratios to the floor and rates per second.
 */
export async function against(trees: readonly string[], rounds: number): Promise<string> {
  const runs = [];
  for (const root of [...trees, ROOT]) {
    const stage = await setStage({ root });
    const list = (await scenarios(stage)).filter(({ name }) => NAMES.includes(name));
    runs.push({ name: root === ROOT ? "this tree" : basename(root), stage, list, seen: [] as [number, number][][] });
  }
  for (let round = 0; round < rounds; round += 1) {
    for (const { stage, list, seen } of runs) {
      const rates = await measureRates(stage, list, { rounds: 1, ms: 1_000 });
      seen.push(rates.map(({ perSecond }) => [perSecond?.ours ?? Number.NaN, perSecond?.floor ?? Number.NaN]));
    }
  }
  const cell = (rates: [number, number][]) => {
    const ratio = median(rates.map(([ours, floor]) => ours / floor));
    return `${ratio.toFixed(2)} (${median(rates.map(([ours]) => ours)).toFixed(0)}/s)`;
  };
  const rows = runs.map(({ name, seen }) => [
    name,
    ...NAMES.map((_, index) => cell(seen.map((rates) => rates[index] ?? [Number.NaN, Number.NaN]))),
  ]);
  for (const { stage } of runs) await stage.close();
  return table(["", ...NAMES], rows);
}
