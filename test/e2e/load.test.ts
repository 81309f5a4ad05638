import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openLoop, send } from "../bench/load.ts";
import type { Call, Sample } from "../bench/load.ts";
import { buildWorker, startRuntime } from "../support/built-worker.ts";
import type { Runtime } from "../support/built-worker.ts";
import { startDatabase } from "../support/database.ts";
import type { TestDatabase } from "../support/database.ts";
import { INSTANCE } from "../support/demo.ts";
import { startOrchestrator } from "../support/orchestrator.ts";
import type { OrchestratorStandIn } from "../support/orchestrator.ts";
import { freePort } from "../support/service.ts";

// How fast it is, `npm run bench` tells; here is what has to be right however slow the machine is.

const PEOPLE = 100;
const CONFIG = join(import.meta.dirname, "../../wrangler.toml");

let folder: string;
let database: TestDatabase;
let orchestrator: OrchestratorStandIn;
let runtime: Runtime;
let url: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "parley-load-"));
  const bundle = join(folder, "bundle");
  database = await startDatabase({ seeded: true, concurrent: true });
  orchestrator = await startOrchestrator();
  await buildWorker({ config: CONFIG, bundle });
  const port = await freePort();
  const variables = {
    ENVIRONMENT: "development",
    DATABASE_URL: database.connectionString,
    NEON_ENDPOINT: database.endpoint,
    ORCHESTRATOR_URL: orchestrator.url,
    JWT_SECRET: "parley-development-secret-not-for-production",
  };
  runtime = await startRuntime({
    workers: [{ config: CONFIG, bundle, port, variables }],
    stateDir: join(folder, "state"),
  });
  url = `http://127.0.0.1:${port}/api/messages`;
});
afterAll(async () => {
  await runtime.stop();
  await orchestrator.close();
  await database.close();
  await rm(folder, { recursive: true, force: true });
});

const message = (person: string, requestId: string): Call => ({
  url,
  body: JSON.stringify({
    ...{ instance_id: INSTANCE.chat, request_id: requestId, content: requestId },
    user: { device_id: person },
  }),
});

/** So many messages, of as many people as there are names, one after the other. */
const talk = (prefix: string, people: number, load: { perSecond: number; seconds: number }): Promise<Sample[]> => {
  let sent = 0;
  return openLoop(() => {
    sent += 1;
    return message(`${prefix}-person-${sent % people}`, `${prefix}-${sent}`);
  }, load);
};

const statuses = (samples: readonly Sample[]): Record<number, number> =>
  Object.fromEntries([...Map.groupBy(samples, ({ status }) => status)].map(([status, of]) => [status, of.length]));

/** How often each of these request ids is in Postgres, once nothing is written any more. */
async function rowsOf(prefix: string, expected: number): Promise<Map<string, number>> {
  const rows = () =>
    database.query("select request_id, count(*)::int as n from messages where request_id like $1 group by request_id", [
      `${prefix}-%`,
    ]);
  await expect
    .poll(async () => (await rows()).length, { timeout: 90_000, interval: 500 })
    .toBeGreaterThanOrEqual(expected);
  return new Map((await rows()).map(({ request_id, n }) => [request_id ?? "", Number(n)]));
}

const talkOnce = (number: number): Promise<Sample> => send(message(`burst-person-${number % 500}`, `burst-${number}`));

describe("many people at once", { timeout: 180_000 }, () => {
  it("100 messages a second are all answered and stored once [G3.1.1]", async () => {
    for (let person = 0; person < PEOPLE; person += 1)
      await send(message(`steady-person-${person}`, `hello-${person}`));
    const samples = await talk("steady", PEOPLE, { perSecond: 100, seconds: 6 });
    expect(statuses(samples)).toEqual({ 200: 600 });
    const rows = await rowsOf("steady", 600);
    expect([rows.size, new Set(rows.values())]).toEqual([600, new Set([2])]);
  });

  it("1,000 messages within a second are answered or refused with a retry time, and none is lost [G3.1.2]", async () => {
    const samples = await talk("burst", 500, { perSecond: 1_000, seconds: 1 });
    const counts = statuses(samples);
    expect((counts[200] ?? 0) + (counts[429] ?? 0)).toBe(1_000);
    const turnedAway = samples.flatMap(({ status }, index) => (status === 429 ? [index + 1] : []));
    for (const { body } of samples.filter(({ status }) => status === 429)) {
      expect(JSON.parse(body).error).toMatchObject({
        code: "RATE_LIMITED",
        details: { retry_after_ms: expect.any(Number) },
      });
    }
    const kept = await rowsOf("burst", counts[200] ?? 0);
    expect([kept.size, new Set(kept.values())]).toEqual([counts[200], new Set([2])]);

    // Whoever was told to come again does, with the same id.
    for (const number of turnedAway) {
      await expect.poll(async () => (await talkOnce(number)).status, { timeout: 60_000, interval: 200 }).toBe(200);
    }
    expect((await rowsOf("burst", 1_000)).size).toBe(1_000);
  });

  it("concurrent users have one token plan each, made for their first message [G3.5.2]", async () => {
    const planOf = async (requestId: string) => {
      const before = orchestrator.calls.length;
      expect((await openLoop(() => message("planner", requestId), { perSecond: 1, seconds: 1 }))[0]?.status).toBe(200);
      return orchestrator.calls[before]?.adapter["token_plan"];
    };
    const first = await planOf("plan-1");
    expect(first.templates).not.toEqual({});
    expect(await planOf("plan-2")).toEqual(first);
  });
});
