import { parseArgs } from "node:util";
import { chaos } from "./chaos.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 32)) },
    report: { type: "string", default: "docs/chaos.md" },
  },
});
const seed = Number(values.seed);
console.log(`seed ${seed}`);
const report = await chaos({ seed, seconds: Number(values.seconds), say: console.log });
for (const [name, times] of report.fired) console.log(name, times);
for (const f of report.findings) console.log(f.invariant, f.promise, f.checked, f.violations.length);
console.log(report.failures.slice(0, 40).join("\n"), report.quietAfter);
process.exit(report.failures.length > 0 ? 1 : 0);
