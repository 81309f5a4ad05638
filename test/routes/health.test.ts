import { afterAll, beforeAll, describe, expect, vi } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";
const it = databaseTest().extend("ask", { scope: "file" }, ({ database }) => {
  const app = createTestApp(() => createTestDeps({ endpoint: database.endpoint }));
  return async (path: string): Promise<{ status: number; body: any }> => {
    const response = await app.request(path);
    return { status: response.status, body: await response.json() };
  };
});

describe("a service with its database", () => {
  it("a service with its database is ready after one query [A1.1.1, A1.3.2]", async ({ database, ask }) => {
    database.forget();
    expect(await ask("/ready")).toEqual({ status: 200, body: { status: "ready" } });
    expect(database.requests).toHaveLength(1);
  });

  it("a service with its database is healthy and answers in detail outside the envelope [A1.2.1, A1.3.1]", async ({
    ask,
  }) => {
    expect(await ask("/healthz")).toEqual({
      status: 200,
      body: {
        status: "healthy",
        checks: { database: { status: "healthy", latency_ms: expect.any(Number) } },
        instance_cache: { hits: 0, misses: 0, size: 0 },
        version: expect.stringMatching(/^\d+\.\d+\.\d+/),
      },
    });
  });

  it("every health endpoint states its status [A1.2.2]", async ({ ask }) => {
    const replies = await Promise.all(["/live", "/ready", "/healthz"].map(ask));
    expect(replies.map(({ body }) => body.status)).toEqual(["alive", "ready", "healthy"]);
  });
});

describe("a service that is not configured", () => {
  // The real dependencies, of an environment in which everything needed is missing or wrong.
  const app = createTestApp();
  const env = { ENVIRONMENT: "prodution", JWT_SECRET: "too-short-a-secret" } as unknown as Env;
  const request = (path: string, init?: RequestInit) => app.request(path, init, env);
  const printed: string[] = [];
  beforeAll(() => void vi.spyOn(console, "log").mockImplementation((line: string) => void printed.push(line)));
  afterAll(() => void vi.restoreAllMocks());

  it("a misconfigured service is alive", async () => {
    const response = await request("/live");
    expect([response.status, await response.json()]).toEqual([200, { status: "alive" }]);
  });

  it("a misconfigured service is neither ready nor healthy", async () => {
    const [ready, healthz] = [await request("/ready"), await request("/healthz")];
    expect([ready.status, await ready.json()]).toEqual([503, { status: "not_ready" }]);
    expect([healthz.status, await healthz.json()]).toMatchObject([503, { status: "unhealthy" }]);
  });

  it.each([
    ["POST", "/api/messages"],
    ["GET", "/openapi.json"],
    ["GET", "/nowhere"],
  ])("a misconfigured service refuses %s %s with a retry time", async (method, path) => {
    const response = await request(path, { method, headers: { "X-Trace-ID": "mine" } });
    expect(response.status).toBe(503);
    expect(Number(response.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect(response.headers.get("X-Trace-ID")).toBe("mine");
    expect(await response.json()).toMatchObject({ error: { code: "SERVICE_UNAVAILABLE" }, trace_id: "mine" });
  });

  it("a misconfigured service logs the faulty settings by name and without a value", async () => {
    await request("/ready");
    const line = JSON.parse(printed.at(-1) ?? "null");
    expect(line).toMatchObject({ event: "request", path: "/ready", status: 503, error: { name: "ConfigError" } });
    for (const name of ["ENVIRONMENT", "DATABASE_URL", "JWT_SECRET"]) expect(line.error.message).toContain(name);
    expect(printed.join("")).not.toMatch(/prodution|too-short-a-secret/);
  });
});
