import { createConnection, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { join } from "node:path";
import { sql } from "drizzle-orm";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { query } from "../../../scripts/neon-proxy/backend.ts";
import type { Backend } from "../../../scripts/neon-proxy/backend.ts";
import { startEndpoint } from "../../../scripts/neon-proxy/server.ts";
import { DatabaseFailure } from "../../../scripts/neon-proxy/errors.ts";
import { PostgresBackend } from "../../../scripts/neon-proxy/postgres.ts";
import type { PostgresOptions } from "../../../scripts/neon-proxy/postgres.ts";
import { connect } from "../../../src/db/client.ts";
import { write } from "../../../src/db/write.ts";
import { createTestApp } from "../../support/contract.ts";
import { openImage } from "../../support/database.ts";
import { startDatabaseProxy } from "../../support/database-proxy.ts";
import { INSTANCE } from "../../support/demo.ts";
import { createTestDeps } from "../../support/deps.ts";
import { startPostgres } from "../../support/postgres.ts";
import type { PostgresServer } from "../../support/postgres.ts";
import { PATIENCE } from "../../support/patience.ts";

/** null on a machine without a Postgres: there the embedded one is asked the same. */
let server: PostgresServer | null;
beforeAll(async () => {
  server = await startPostgres();
}, 60_000);
afterAll(() => server?.stop());

/** A database behind the pool under test; its connections carry the name. */
async function withBackend(
  { name = "under_test", ...limits }: Partial<PostgresOptions> & { name?: string },
  test: (backend: Backend) => Promise<void>,
): Promise<void> {
  const backend = server === null ? await openImage("migrated") : new PostgresBackend({ ...pool(name), ...limits });
  try {
    await test(backend);
  } finally {
    await backend.close();
  }
}

const pool = (name: string): PostgresOptions => ({
  connectionString: `${server?.connectionString}&application_name=${name}`,
});

/** What lies between the pool and its server, and can be cut. */
async function startWire({ connectionString }: PostgresServer) {
  const socket = join(new URL(connectionString).searchParams.get("host") ?? "", ".s.PGSQL.5432");
  const ends = new Set<Socket>();
  const wire = createServer((near) => {
    const far = createConnection(socket);
    for (const [end, other] of [
      [near, far],
      [far, near],
    ] as const) {
      ends.add(end);
      end.on("error", () => other.destroy()).pipe(other);
    }
  });
  await new Promise<void>((resolve) => wire.listen(0, "127.0.0.1", resolve));
  const { port } = wire.address() as AddressInfo;
  const cut = () => {
    for (const end of ends) end.destroy();
  };
  return {
    connectionString: `postgresql://parley@127.0.0.1:${port}/postgres`,
    cut,
    close: () => {
      cut();
      return new Promise((resolve) => wire.close(resolve));
    },
  };
}

/** The server's own count of them. */
const connections = (condition: string) =>
  `select count(*) from pg_stat_activity where application_name = 'under_test' and ${condition}`;
const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));

describe("the pool before a real Postgres", () => {
  it("the pool has 5 connections, up to 10 more, a wait of at most 30 s and a lifetime of 1,800 s [E2.1.1, E2.1.2, E2.1.3, E2.1.4]", () => {
    const made = vi.spyOn(pg, "Pool");
    void new PostgresBackend({ connectionString: "postgresql://nobody@127.0.0.1:1/none" });
    expect(made.mock.calls[0]?.[0]).toMatchObject({
      min: 5,
      max: 5 + 10,
      connectionTimeoutMillis: 30_000,
      maxLifetimeSeconds: 1_800,
    });
    made.mockRestore();
  });

  it("the pool serves a hundred requests over fifteen connections and leaves none in a transaction", () =>
    withBackend({}, async (backend) => {
      const served = await Promise.all(times(100, () => query(backend, "select pg_backend_pid(), pg_sleep(0.005)")));
      const pids = new Set(served.map(({ rows }) => rows[0]?.[0]));
      expect(pids.size).toBe(server === null ? 1 : 15);
      expect((await query(backend, connections("state like 'idle in transaction%'"))).rows).toEqual([["0"]]);
    }));

  it("the pool sets UTC on each connection, whatever the server's time zone [E2.2.1]", () =>
    withBackend({}, async (backend) => {
      if (server !== null) await query(backend, "alter role parley set timezone = 'Asia/Tokyo'");
      const zone = "select current_setting('TimeZone'), pg_sleep(0.01)";
      const zones = await Promise.all(times(15, () => query(backend, zone)));
      expect(new Set(zones.map(({ rows }) => rows[0]?.[0]))).toEqual(new Set(["UTC"]));
    }));

  it("the pool tests a connection before use and replaces broken ones unnoticed [E2.1.5, E2.5.3]", async () => {
    const wire = server === null ? null : await startWire(server);
    await withBackend(wire === null ? {} : { connectionString: wire.connectionString }, async (backend) => {
      let isArmed = false;
      const onRequest = () => {
        // In the very moment before they are asked for: the pool can't have heard of it.
        if (isArmed) wire?.cut();
        isArmed = false;
      };
      const endpoint = await startEndpoint({ backend, onRequest });
      const proxy = await startDatabaseProxy(endpoint.url);
      const db = connect({ databaseUrl: "postgresql://x:x@localhost/x", endpoint: proxy.url, deadlineMs: 10_000 });
      const ask = () => write(db, [sql`select 1 as n`]);
      try {
        await Promise.all(times(15, ask));
        if (wire === null) proxy.next("drop");
        isArmed = true;
        expect(await Promise.all(times(15, ask))).toEqual(times(15, () => [[{ n: 1 }]]));
        // What the pool notices by itself is not sent again by anybody.
        expect(proxy.requests).toBe(wire === null ? 31 : 30);
      } finally {
        await proxy.close();
        await endpoint.close();
      }
    });
    await wire?.close();
  });

  it("the pool refuses a request past its wait with an error, and a first contact gets a 503 with a retry time [E2.5.2]", () =>
    withBackend({ keep: 1, max: 2, acquireTimeoutMs: 150 }, async (backend) => {
      const exhausted: Backend = {
        run: () => Promise.reject(new DatabaseFailure("no database connection", { code: "53300" })),
        close: () => Promise.resolve(),
      };
      const busy = server === null ? [] : times(2, () => query(backend, "select pg_sleep(1.5)"));
      const full = server === null ? exhausted : backend;
      await expect(query(full, "select 1")).rejects.toMatchObject({ code: "53300" });
      const endpoint = await startEndpoint({ backend: full });
      try {
        const response = await createTestApp(() => createTestDeps({ endpoint: endpoint.url })).request(
          "/api/messages",
          {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify({ instance_id: INSTANCE.chat, request_id: "r1", content: "Hi", device_id: "d1" }),
          },
        );
        expect([response.status, Number(response.headers.get("Retry-After")) > 0]).toEqual([503, true]);
        expect(await response.json()).toMatchObject({ error: { code: "SERVICE_UNAVAILABLE" } });
        // Who was being served was not disturbed, and afterwards there is room again.
        await Promise.all(busy);
        expect((await query(backend, "select 1")).rows).toEqual([["1"]]);
      } finally {
        await endpoint.close();
      }
    }));

  it("the pool refuses requests once closed and leaves no connection", () =>
    withBackend({ name: "another" }, async (another) => {
      let closed: Backend | null = null;
      await withBackend({}, async (backend) => {
        closed = backend;
        await Promise.all(times(15, () => query(backend, "select 1")));
      });
      await expect(query(closed as unknown as Backend, "select 1")).rejects.toMatchObject({ code: "57P01" });
      await vi.waitUntil(async () => (await query(another, connections("true"))).rows[0]?.[0] === "0", PATIENCE);
    }));
});
