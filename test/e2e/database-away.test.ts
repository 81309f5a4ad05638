import { randomUUID } from "node:crypto";
import { describe, expect, vi } from "vitest";
import type { DatabaseProxy } from "../support/database-proxy.ts";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import type { Reply } from "../support/service.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator, proxy }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    NEON_ENDPOINT: proxy.url,
  }))
  .extend(
    "say",
    { scope: "file" },
    ({ service }) =>
      (otherwise: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
        service.say("/api/messages", message(otherwise), headers),
  )
  /** What Postgres has of a session in the end. */
  .extend(
    "eventually",
    { scope: "file" },
    ({ service }) =>
      (sessionId: string, said: string[]) =>
        vi.waitFor(async () => {
          const rows = await service.query("select content from messages where session_id = $1 order by seq", [
            sessionId,
          ]);
          expect(rows.map(({ content }) => content)).toEqual(said);
        }, PATIENCE),
  )
  /** Somebody new is asked for in one request, made in the second; the ledger writes in the third. */
  .extend(
    "firstContact",
    { scope: "file" },
    ({ proxy, say }) =>
      async (content: string): Promise<{ reply: Reply; requests: number }> => {
        const before = proxy.requests;
        const reply = await say({ content });
        return { reply, requests: proxy.requests - before };
      },
  );

it.afterEach(({ proxy }) => proxy.back());

const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: { device_id: randomUUID() },
  ...otherwise,
});

describe("the database fails once", () => {
  it("a dropped database connection is retried, and a new user is answered [G2.8.1]", async ({
    proxy,
    firstContact,
    eventually,
  }) => {
    proxy.next("drop", "pass", "drop");
    const { reply, requests } = await firstContact("after a drop");
    expect([reply.status, requests]).toEqual([200, 4]);
    await eventually(reply.body.data.session_id, ["after a drop", "echo: after a drop"]);
  });

  it("a deadlock is retried, and a new user is stored once [G2.9.1]", async ({ proxy, firstContact, eventually }) => {
    proxy.next("pass", { sqlState: "40P01" });
    const { reply, requests } = await firstContact("after a deadlock");
    expect([reply.status, requests]).toEqual([200, 3]);
    await eventually(reply.body.data.session_id, ["after a deadlock", "echo: after a deadlock"]);
  });

  it.for([
    ["drops the connection", "drop"],
    ["meets a deadlock", { sqlState: "40P01" }],
  ] as const)(
    "the ledger writes again and once after the database %s",
    async ([, fault], { firstContact, proxy, eventually, service }) => {
      const { reply } = await firstContact("to be kept");
      const before = proxy.requests;
      proxy.next(fault);
      await eventually(reply.body.data.session_id, ["to be kept", "echo: to be kept"]);
      expect(proxy.requests - before).toBe(2);
      expect(service.log().filter(({ event }) => event === "ledger_write_failed")).toEqual([]);
    },
  );
});

describe.each([
  ["refuses connections", (proxy: DatabaseProxy) => proxy.leave()],
  ["takes requests and never answers", async (proxy: DatabaseProxy) => proxy.always("hang")],
])("the database %s", (_title, leave) => {
  const user = { device_id: randomUUID() };
  let known: Reply;
  let unknown: Reply;
  let unknownInstance: Reply;
  let keyHolder: Reply;
  let live: Reply;
  let ready: Reply;
  let healthz: Reply;

  it.beforeAll(async ({ say, eventually, proxy, service }) => {
    const first = await say({ user, content: "before" });
    await eventually(first.body.data.session_id, ["before", "echo: before"]);
    await leave(proxy);
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

  it("all answers of an outage are stored afterwards, and a new user is answered", async ({
    eventually,
    say,
    service,
  }) => {
    await eventually(known.body.data.session_id, ["before", "echo: before", "meanwhile", "echo: meanwhile"]);
    expect((await say()).status).toBe(200);
    expect((await service.request("/ready")).status).toBe(200);
  });
});
