import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { chaos } from "./chaos.ts";
import { render } from "./report.ts";

// npm run chaos [-- --seconds 300] [--seed N] [--report docs/chaos.md] [--embedded]

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "300" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 32)) },
    embedded: { type: "boolean", default: false },
    report: { type: "string", default: "docs/chaos.md" },
  },
});
const say = (line: string) => process.stdout.write(`${line}\n`);
say(`seed ${values.seed}`);
const report = await chaos({
  seed: Number(values.seed),
  seconds: Number(values.seconds),
  embedded: values.embedded,
  say,
});
const text = render(report);
await mkdir(dirname(values.report), { recursive: true });
await writeFile(values.report, text);
say(`\n${text}`);
process.exitCode = report.failures.length === 0 ? 0 : 1;
