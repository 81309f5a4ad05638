import { randomUUID } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { startDatabaseProxy } from "../support/database-proxy.ts";
import type { DatabaseProxy } from "../support/database-proxy.ts";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import { startOrchestrator } from "../support/orchestrator.ts";
import type { OrchestratorStandIn } from "../support/orchestrator.ts";
import { freePort, startService } from "../support/service.ts";
import type { Reply, Service } from "../support/service.ts";

let orchestrator: OrchestratorStandIn;
let proxy: DatabaseProxy;
let service: Service;

beforeAll(async () => {
  orchestrator = await startOrchestrator();
  const port = await freePort();
  proxy = await startDatabaseProxy(`http://127.0.0.1:${port}/sql`);
  service = await startService({
    env: { ORCHESTRATOR_URL: orchestrator.url, DB_PORT: String(port), NEON_ENDPOINT: proxy.url },
  });
});
afterEach(() => proxy.back());
afterAll(async () => {
  await service?.stop();
  await proxy?.close();
  await orchestrator?.close();
});

const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: { device_id: randomUUID() },
  ...otherwise,
});
const say = (otherwise: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
  service.say("/api/messages", message(otherwise), headers);
/** What Postgres has of a session in the end. */
const eventually = (sessionId: string, said: string[]) =>
  vi.waitFor(
    async () => {
      const rows = await service.query("select content from messages where session_id = $1 order by seq", [sessionId]);
      expect(rows.map(({ content }) => content)).toEqual(said);
    },
    { timeout: 45_000, interval: 100 },
  );

describe("the database fails once", () => {
  /** Somebody new is asked for in one request, made in the second; the ledger writes in the third. */
  async function firstContact(content: string): Promise<{ reply: Reply; requests: number }> {
    const before = proxy.requests;
    const reply = await say({ content });
    return { reply, requests: proxy.requests - before };
  }

  it("a dropped database connection is retried, and a new user is answered [G2.8.1]", async () => {
    proxy.next("drop", "pass", "drop");
    const { reply, requests } = await firstContact("after a drop");
    expect([reply.status, requests]).toEqual([200, 4]);
    await eventually(reply.body.data.session_id, ["after a drop", "echo: after a drop"]);
  });

  it("a deadlock is retried, and a new user is stored once [G2.9.1]", async () => {
    proxy.next("pass", { sqlState: "40P01" });
    const { reply, requests } = await firstContact("after a deadlock");
    expect([reply.status, requests]).toEqual([200, 3]);
    await eventually(reply.body.data.session_id, ["after a deadlock", "echo: after a deadlock"]);
  });

  it.each([
    ["drops the connection", "drop"],
    ["meets a deadlock", { sqlState: "40P01" }],
  ] as const)("the ledger writes again and once after the database %s", async (_title, fault) => {
    const { reply } = await firstContact("to be kept");
    const before = proxy.requests;
    proxy.next(fault);
    await eventually(reply.body.data.session_id, ["to be kept", "echo: to be kept"]);
    expect(proxy.requests - before).toBe(2);
    expect(service.log().filter(({ event }) => event === "ledger_write_failed")).toEqual([]);
  });
});

describe.each([
  ["refuses connections", () => proxy.leave()],
  ["takes requests and never answers", async () => proxy.always("hang")],
])("the database %s", (_title, leave) => {
  const user = { device_id: randomUUID() };
  let known: Reply;
  let unknown: Reply;
  let unknownInstance: Reply;
  let keyHolder: Reply;
  let live: Reply;
  let ready: Reply;
  let healthz: Reply;

  beforeAll(async () => {
    const first = await say({ user, content: "before" });
    await eventually(first.body.data.session_id, ["before", "echo: before"]);
    await leave();
    [known, unknown, unknownInstance, keyHolder, live, ready, healthz] = await Promise.all([
      say({ user, content: "meanwhile" }),
      say(),
      say({ user, instance_id: INSTANCE.globex }),
      say({ user }, { Authorization: `Bearer ${ACME_KEY}` }),
      service.request("/live"),
      service.request("/ready"),
      service.request("/healthz"),
    ]);
    await proxy.back();
  });

  it("a conversation in progress continues during an outage", () => {
    expect(known).toMatchObject({ status: 200, body: { data: { text: "echo: meanwhile", fallback: false } } });
  });

  it("a request that needs the database is refused with a retry time during an outage", () => {
    for (const reply of [unknown, unknownInstance, keyHolder]) {
      expect(reply).toMatchObject({ status: 503, body: { success: false, error: { code: "SERVICE_UNAVAILABLE" } } });
      expect(Number(reply.headers.get("Retry-After"))).toBeGreaterThan(0);
      expect(reply.text).not.toMatch(/127\.0\.0\.1|select|ECONN|fetch/i);
    }
  });

  it("the service is alive during an outage [A1.3.3]", () => {
    expect([live.status, live.body]).toEqual([200, { status: "alive" }]);
  });

  it("the service is not ready during an outage [A1.1.2]", () => {
    expect([ready.status, ready.body]).toEqual([503, { status: "not_ready" }]);
  });

  it("the service is not healthy during an outage", () => {
    expect(healthz.status).toBe(503);
    expect(healthz.body).toMatchObject({
      status: "unhealthy",
      checks: { database: { status: "unhealthy", latency_ms: null } },
    });
  });

  it("all answers of an outage are stored afterwards, and a new user is answered", async () => {
    await eventually(known.body.data.session_id, ["before", "echo: before", "meanwhile", "echo: meanwhile"]);
    expect((await say()).status).toBe(200);
    expect((await service.request("/ready")).status).toBe(200);
  });
});
