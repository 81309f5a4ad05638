import { mkdir, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { freePort } from "../support/service.ts";
import { against } from "./against.ts";
import { burst, endure, sustain } from "./endurance.ts";
import { heapBytes } from "./heap.ts";
import { send } from "./load.ts";
import { measureRates } from "./rates.ts";
import { render } from "./report.ts";
import { message, scenarios } from "./scenarios.ts";
import { setStage } from "./stage.ts";
import type { Stage } from "./stage.ts";
import { bundleSize, startUp } from "./start.ts";

// npm run bench [-- --rounds 5] [--seconds 60] [--messages 100000] [--report docs/bench.md]
// npm run bench -- --against <folder of another tree>...: compares those trees with this one only

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "60" },
    messages: { type: "string", default: "100000" },
    report: { type: "string", default: "docs/bench.md" },
    against: { type: "string", multiple: true, default: [] },
  },
});
const say = (line: string) => process.stdout.write(`${line}\n`);

if (values.against.length > 0) {
  say(await against(values.against, Number(values.rounds)));
  process.exit(0);
}

/** Round trips to Postgres before the answer, for a new user and for the same user's next message. */
async function roundTrips(stage: Stage) {
  const trips = async () => {
    const before = await stage.requests();
    await send(message(stage, "counted"));
    return (await stage.requests()) - before;
  };
  return { first: await trips(), warm: await trips() };
}

say("building, starting");
const stage = await setStage();
const trips = await roundTrips(stage);
say("rates beside their floors");
const rates = await measureRates(stage, await scenarios(stage), { rounds: Number(values.rounds), ms: 1_000 });
say(`100 requests a second for ${values.seconds} s`);
const sustained = await sustain(stage, { perSecond: 100, seconds: Number(values.seconds) });
await stage.close();

say(`${values.messages} messages as fast as they go`);
const inspectorPort = await freePort();
const fresh = await setStage({ inspectorPort });
const most = Number(values.messages);
const endured = await endure(fresh, () => heapBytes(inspectorPort, "parley"), [most / 100, most / 10, most / 2, most]);
const { parley, floor } = fresh.workers;
const size = await bundleSize(parley.bundle);
const start = { parley: await startUp(parley, "/live"), floor: await startUp(floor, "/live") };
await fresh.close();

say("1,000 requests in a second, with the limits as they come");
const limited = await setStage({
  variables: { RATE_LIMIT_USER_PER_MINUTE: "60", RATE_LIMIT_INSTANCE_PER_MINUTE: "6000" },
});
const crowd = await burst(limited);
await limited.close();

const machine = {
  cores: cpus().length,
  model: cpus()[0]?.model ?? "unknown",
  isPinned: stage.isPinned,
  isPostgres: stage.isPostgres,
};
const { text, broken } = render({ machine, trips, rates, sustained, endured, size, start, crowd });
await mkdir(dirname(values.report), { recursive: true });
await writeFile(values.report, text);
say(`\n${text}`);
process.exit(broken ? 1 : 0);
