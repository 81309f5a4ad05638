import { sql } from "drizzle-orm";
import { describe, expect, vi } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { transaction } from "../../src/db/client.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import { INSTANCE } from "../support/demo.ts";
import { answerTo, createTestDeps } from "../support/deps.ts";
import { missingOrchestrator } from "../../src/clients/orchestrator/create.ts";
import { readToEnd } from "../../src/clients/orchestrator/port.ts";
import { answerWith, echo } from "../support/orchestrator.ts";
import type { Behaviour } from "../support/orchestrator.ts";
import { databaseTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

const REQUESTS = 1_000;
/** Each tenth is for an instance that does not exist. */
const UNKNOWN = REQUESTS / 10;
const AT_ONCE = 20;

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  /** What the database counts: connections that are doing something, or are stuck in a transaction. */
  .extend("busy", { scope: "file" }, ({ database }) => async (): Promise<number> => {
    const rows = await database.query(
      "select count(*) as n from pg_stat_activity where backend_type = 'client backend' and state <> 'idle' and pid <> pg_backend_pid()",
    );
    return Number(rows[0]?.["n"]);
  });
it.beforeEach(({ database }) => database.forget());

/** Sockets of this process: both ends of every connection, to the database and to the orchestrator. */
const sockets = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;

/** Each of twenty places may keep one connection to a server for its next request, and a connection has two ends. */
async function expectNoMoreThanKept(before: number, { servers }: { servers: number }): Promise<void> {
  const kept = 2 * AT_ONCE * servers;
  // What was let go is closed a moment later.
  await vi.waitUntil(() => sockets() <= before + kept, PATIENCE);
  console.log(`${REQUESTS} requests: ${before} sockets before, ${sockets()} after, ${kept} may be kept`);
}

/** One after the other in each of twenty places. */
async function inTwentyPlaces(count: number, ask: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  const place = async () => {
    while (next < count) await ask((next += 1));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, place));
}

const endless: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json" });
  const more = () => void (response.destroyed || response.write("x".repeat(65_536), more));
  more();
};
const MOODS: Behaviour[] = [
  echo,
  // More than a socket holds: who doesn't read it has to let go of it.
  answerWith({ error: "x".repeat(1_000_000) }, 500),
  (_call, response) => void response.writeHead(302, { Location: "/elsewhere" }).end("moved"),
  (_call, response) => void response.destroy(),
];
/** Rare, because it takes long: a body without end, and never an answer. */
const DARK_MOODS: Behaviour[] = [endless, () => undefined];

const moodOf = (n: number): Behaviour | undefined =>
  n % 25 === 0 ? DARK_MOODS[(n / 25) % DARK_MOODS.length] : MOODS[n % MOODS.length];

describe("a thousand requests", () => {
  it("a thousand requests leave at most the sockets of twenty concurrent ones open [E2.5.1, I9.3]", async ({
    database,
    orchestrator,
    busy,
  }) => {
    /** How many were told what, and what became of the orchestrator's calls. */
    const told: Record<number, number> = { 200: 0, 404: 0 };
    const called = { answered: 0, failed: 0 };
    const ask = async (n: number): Promise<void> => {
      // An isolate of its own for each: everything is asked of the database.
      const deps = createTestDeps({
        endpoint: database.endpoint,
        env: { ORCHESTRATOR_URL: orchestrator.url, ORCHESTRATOR_TIMEOUT_MS: "250" },
      });
      deps.conversation = () =>
        ({
          submit: async (submission: any) => {
            const adapter = { trace_id: submission.traceId, message: { content: `${n}` } } as never;
            const call = { turnId: uuidv7(0), signal: new AbortController().signal };
            await readToEnd((deps.orchestrator ?? missingOrchestrator)(adapter, call)).then(
              () => (called.answered += 1),
              () => (called.failed += 1),
            );
            return { kind: "answered", answer: answerTo(submission) };
          },
        }) as never;
      const response = await createTestApp(() => deps).request("/api/messages", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({
          instance_id: n % 10 === 0 ? INSTANCE.unknown : INSTANCE.chat,
          request_id: `r${n}`,
          content: "Hello",
          device_id: `device-${n % 7}`,
        }),
      });
      told[response.status] = (told[response.status] ?? 0) + 1;
      await response.arrayBuffer();
    };
    orchestrator.behave((call, response) => moodOf(Number(call.adapter["message"].content))?.(call, response));

    const before = sockets();
    await inTwentyPlaces(REQUESTS, ask);
    await expectNoMoreThanKept(before, { servers: 2 });
    expect(told).toEqual({ 200: REQUESTS - UNKNOWN, 404: UNKNOWN });
    expect(called.answered + called.failed).toBe(REQUESTS - UNKNOWN);
    // How many of the good ones were in time is the machine's affair; that none of the bad ones was isn't.
    expect(called.answered).toBeGreaterThan(0);
    expect(called.failed).toBeGreaterThanOrEqual((REQUESTS - UNKNOWN) / 2);
    expect(await busy()).toBe(0);
  }, 120_000);

  it("a thousand requests that fail in the database leave no socket open [E2.3.3, E2.4.3]", async ({
    database,
    busy,
  }) => {
    const deps = createTestDeps({ endpoint: database.endpoint });
    const fail = (n: number) =>
      transaction(deps.db, [sql`select ${n}::int`, n % 2 === 0 ? sql`select 1 / 0` : sql`select 1`]).then(
        () => undefined,
        () => undefined,
      );
    const before = sockets();
    await inTwentyPlaces(REQUESTS, fail);
    await expectNoMoreThanKept(before, { servers: 1 });
    expect([await busy(), database.requests.length]).toEqual([0, REQUESTS]);
  }, 60_000);
});
