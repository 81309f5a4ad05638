import { describe, expect } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { checkHealth } from "../../src/services/health.ts";
import { findInstance } from "../../src/services/instance.ts";
import { INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

const it = databaseTest();
it.beforeEach(({ database }) => database.forget());

describe("what can be said of the service from inside", () => {
  it("the health check measures the database's response time", async ({ database }) => {
    let now = 0;
    const deps = createTestDeps({ endpoint: database.endpoint, now: () => (now += 7) });
    expect(await checkHealth(deps)).toMatchObject({
      status: "healthy",
      checks: { database: { status: "healthy", latency_ms: 7 } },
    });
    expect(database.requests).toMatchObject([{ queries: ["select 1"] }]);
  });

  it("the database is asked at most once a second, however many clients ask", async ({ database }) => {
    const clock = { now: 1_000_000 };
    const deps = createTestDeps({ endpoint: database.endpoint, now: () => clock.now });
    const app = createTestApp(() => deps);
    const asked = await Promise.all(Array.from({ length: 20 }, async () => app.request("/ready")));
    expect(asked.map(({ status }) => status)).toEqual(asked.map(() => 200));
    clock.now += 900;
    await app.request("/ready");
    expect(database.requests).toHaveLength(1);
    clock.now += 200;
    await app.request("/ready");
    expect(database.requests).toHaveLength(2);
  });

  it("the health check reports and logs an unreachable database instead of throwing", async () => {
    const deps = createTestDeps({ endpoint: "http://127.0.0.1:1/sql" });
    expect(await checkHealth(deps)).toMatchObject({
      status: "unhealthy",
      checks: { database: { status: "unhealthy", latency_ms: null } },
    });
    expect(deps.lines).toMatchObject([
      { level: "warn", event: "database_unavailable", error: { name: "NeonDbError" } },
    ]);
  });

  it("the cache counters are shown in /healthz and in each request's log line [C2.5.3, I9.1]", async ({ database }) => {
    const deps = createTestDeps({ endpoint: database.endpoint });
    const app = createTestApp(() => deps);
    const say = (requestId: string) =>
      app.request("/api/messages", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ instance_id: INSTANCE.chat, request_id: requestId, content: "Hi", device_id: "d1" }),
      });
    for (let message = 0; message < 20; message += 1) expect((await say(`r${message}`)).status).toBe(200);
    await findInstance(deps, INSTANCE.guestless);
    const health = (await (await app.request("/healthz")).json()) as any;
    expect(health.instance_cache).toEqual({ hits: 19, misses: 2, size: 2 });
    expect(deps.lines.findLast(({ path }) => path === "/api/messages")?.["instance_cache"]).toEqual({
      hits: 19,
      misses: 1,
      size: 1,
    });
  });
});
