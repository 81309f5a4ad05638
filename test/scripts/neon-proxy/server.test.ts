import { request } from "node:http";
import { neon, neonConfig } from "@neondatabase/serverless";
import { sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/neon-http";
import { describe, expect } from "vitest";
import { startEndpoint } from "../../../scripts/neon-proxy/server.ts";
import { databaseTest } from "../../support/fixtures.ts";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: false })
  .extend(
    "client",
    { scope: "file" },
    ({ database }) =>
      () =>
        neon(database.connectionString),
  )
  .extend(
    "post",
    { scope: "file" },
    ({ database }) =>
      (body: string, headers: Record<string, string> = {}, path = "/sql") =>
        fetch(new URL(path, database.endpoint), { method: "POST", body, headers: { ...DRIVER, ...headers } }),
  )
  /** `fetch` sets Host itself, so this request is written by hand. */
  .extend(
    "postAs",
    { scope: "file" },
    ({ database }) =>
      (headers: Record<string, string>) =>
        new Promise<number>((resolve, reject) => {
          const sent = request(database.endpoint, { method: "POST", headers }, (response) => {
            response.resume().on("end", () => resolve(response.statusCode ?? 0));
          });
          sent.on("error", reject).end('{"query":"INSERT INTO things VALUES (1, \'a\')"}');
        }),
  );
it.beforeAll(async ({ database }) => {
  neonConfig.fetchEndpoint = database.endpoint;
  await database.query("CREATE TABLE things (id int PRIMARY KEY, name text NOT NULL, at timestamptz DEFAULT now())");
});

it.beforeEach(async ({ database }) => {
  await database.query("TRUNCATE things");
  database.forget();
});

const DRIVER = { "Neon-Connection-String": "postgresql://test:test@localhost/test" };

describe("the driver against the local endpoint", () => {
  it("the driver gets values of every common type as from Neon", async ({ client }) => {
    const [row] = await client().query(
      `SELECT 1::int AS i, 9007199254740993::int8 AS big, true AS yes, 1.50::numeric AS n, NULL AS nothing, 'ü€😀' AS t,
        '{"a":[1]}'::jsonb AS j, ARRAY['a"b',NULL] AS list, '\\x00ff'::bytea AS bytes, $1::uuid AS id`,
      ["00000000-0000-4000-8000-000000000001"],
    );
    expect(row).toMatchObject({
      i: 1,
      big: "9007199254740993",
      yes: true,
      n: "1.50",
      nothing: null,
      t: "ü€😀",
      j: { a: [1] },
      list: ['a"b', null],
      id: "00000000-0000-4000-8000-000000000001",
    });
    expect(row?.["bytes"]).toEqual(Buffer.from([0, 255]));
  });

  it("the driver gets a full result with command, row count and fields", async ({ client }) => {
    const result = await client().query("INSERT INTO things VALUES ($1, $2), (2, 'b') RETURNING id", [1, "a"], {
      fullResults: true,
    });
    expect(result).toMatchObject({ command: "INSERT", rowCount: 2, fields: [{ name: "id", dataTypeID: 23 }] });
  });

  it("the driver gets Postgres' error with its fields", async ({ client }) => {
    await client().query("INSERT INTO things VALUES (1, 'a')");
    await expect(client().query("INSERT INTO things VALUES (1, 'b')")).rejects.toMatchObject({
      name: "NeonDbError",
      code: "23505",
      table: "things",
      constraint: "things_pkey",
      detail: "Key (id)=(1) already exists.",
      severity: "ERROR",
      routine: "_bt_check_unique",
    });
    await expect(client().query("SELEC 1")).rejects.toMatchObject({ code: "42601", position: "1" });
    await expect(client().query("SELECT 1; SELECT 2")).rejects.toMatchObject({ code: "42601" });
  });

  it("the driver runs a batch as one transaction in one round trip", async ({ client, database }) => {
    const db = drizzle(client());
    const [inserted, counted] = await db.batch([
      db.execute(sql`INSERT INTO things VALUES (1, ${"a"}) RETURNING id, now() AS began`),
      db.execute<{ n: string }>(sql`SELECT count(*) AS n FROM things`),
    ]);
    expect(inserted.rows).toHaveLength(1);
    expect(counted.rows).toEqual([{ n: "1" }]);
    expect(database.requests).toHaveLength(1);
    expect(database.requests[0]).toMatchObject({
      batch: true,
      queries: [expect.stringContaining("INSERT"), expect.anything()],
    });
  });

  it("the driver's failed batch leaves nothing", async ({ client, database }) => {
    const db = client();
    const batch = db.transaction([db.query("INSERT INTO things VALUES (1, 'a')"), db.query("SELECT 1 / 0")]);
    await expect(batch).rejects.toMatchObject({ code: "22012" });
    expect(await database.query("SELECT * FROM things")).toEqual([]);
    expect(await client().query("SELECT 1 AS fine")).toEqual([{ fine: 1 }]);
  });

  it("the driver's batch has the isolation and access mode it asks for", async ({ client }) => {
    const db = client();
    const read = await db.transaction(
      [
        db.query(
          "SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_deferrable') AS wait",
        ),
      ],
      { isolationLevel: "Serializable", readOnly: true, deferrable: true },
    );
    expect(read).toEqual([[{ level: "serializable", wait: "on" }]]);
    const write = db.transaction([db.query("INSERT INTO things VALUES (1, 'a')")], { readOnly: true });
    await expect(write).rejects.toMatchObject({ code: "25006" });
  });

  it("the driver's session uses UTC", async ({ client }) => {
    const [row] = await client().query("SELECT current_setting('TimeZone') AS zone");
    expect(row).toEqual({ zone: "UTC" });
  });

  it("an open transaction does not reach the next request", async ({ client, database }) => {
    await client().query("BEGIN");
    await client().query("INSERT INTO things VALUES (1, 'a')");
    await client().query("ROLLBACK");
    expect(await database.query("SELECT id FROM things")).toEqual([{ id: "1" }]);
  });

  it("200 concurrent callers get their own results", async ({ client }) => {
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, n) => client().query("SELECT $1::int AS n", [n])),
    );
    expect(answers.map(([row]) => row?.["n"])).toEqual(Array.from({ length: 200 }, (_, n) => n));
  });
});

describe("the endpoint", () => {
  it("the endpoint returns raw text only when asked to", async ({ post }) => {
    const response = await post(JSON.stringify({ query: "SELECT 1 AS n, true AS b, 5::int8 AS big" }));
    expect(await response.json()).toMatchObject({ rowAsArray: false, rows: [{ n: 1, b: true, big: "5" }] });
    const raw = await post(JSON.stringify({ query: "SELECT 1 AS n, true AS b" }), {
      "Neon-Raw-Text-Output": "true",
      "Neon-Array-Mode": "true",
    });
    expect(await raw.json()).toMatchObject({ rowAsArray: true, rows: [["1", "t"]], command: "SELECT", rowCount: 1 });
  });

  it("the endpoint takes JSON parameters as Neon does", async ({ post }) => {
    const response = await post(
      JSON.stringify({
        query: "SELECT $1::text[] AS a, $2::jsonb AS o, $3::bool AS b",
        params: [["x", 'q"\\', null], { k: 1 }, true],
      }),
      { "Neon-Raw-Text-Output": "true", "Neon-Array-Mode": "true" },
    );
    expect(await response.json()).toMatchObject({ rows: [['{x,"q\\"\\\\",NULL}', '{"k": 1}', "t"]] });
  });

  it.for([
    ["no JSON", "{"],
    ["no query", "{}"],
    ["a list", "[]"],
    ["params that are no list", '{"query":"SELECT 1","params":3}'],
    ["a batch of no queries", '{"queries":[1]}'],
  ] as const)("the endpoint refuses %s with 400", async ([, body], { post }) => {
    const response = await post(body);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ message: expect.stringContaining("parse"), code: null });
  });

  it("the endpoint refuses an unknown isolation level", async ({ post }) => {
    const response = await post('{"queries":[]}', { "Neon-Batch-Isolation-Level": "Chaos" });
    expect([response.status, await response.json()]).toMatchObject([400, { message: "invalid isolation level" }]);
  });

  it("the endpoint knows one path and one method", async ({ post, database }) => {
    expect((await post("{}", {}, "/other")).status).toBe(404);
    expect((await fetch(database.endpoint)).status).toBe(405);
  });

  it.for([
    ["no header of the driver, which a page may send without a preflight", { "content-type": "text/plain" }],
    ["the Origin of a web page", { ...DRIVER, origin: "https://example.com" }],
    ["an opaque Origin", { ...DRIVER, origin: "null" }],
    ["a foreign Host, as after DNS rebinding", { ...DRIVER, host: "example.com" }],
    ["a Host that only begins like a local one", { ...DRIVER, host: "127.0.0.1.example.com" }],
  ] as const)("the endpoint runs no SQL of a request with %s", async ([, headers], { postAs, database }) => {
    expect(await postAs(headers)).toBe(403);
    expect(await database.query("SELECT * FROM things")).toEqual([]);
  });

  it("the endpoint runs SQL of a request to localhost with the driver's header", async ({ postAs }) => {
    expect(await postAs({ ...DRIVER, host: "localhost:5432" })).toBe(200);
  });

  it("the endpoint grants a web page's preflight nothing", async ({ database }) => {
    const preflight = await fetch(database.endpoint, {
      method: "OPTIONS",
      headers: { Origin: "https://example.com", "Access-Control-Request-Headers": "neon-connection-string" },
    });
    expect(preflight.ok).toBe(false);
    expect(preflight.headers.get("access-control-allow-origin")).toBeNull();
  });

  it("the endpoint refuses requests and answers over 10 MB", async ({ post, database }) => {
    expect((await post(JSON.stringify({ query: "SELECT $1", params: ["x".repeat(11 * 1024 * 1024)] }))).status).toBe(
      413,
    );
    const queries = [{ query: "INSERT INTO things VALUES (1, 'a')" }, { query: "SELECT repeat('x', 11000000)" }];
    expect((await post(JSON.stringify({ queries }))).status).toBe(507);
    expect(await database.query("SELECT * FROM things")).toEqual([]);
  });

  it("the endpoint tells the backend when the caller has left", async () => {
    const arrived = Promise.withResolvers<void>();
    const noticed = Promise.withResolvers<void>();
    const endpoint = await startEndpoint({
      backend: {
        run: async (_work, signal) => {
          signal?.addEventListener("abort", () => noticed.resolve());
          arrived.resolve();
          await noticed.promise;
          return [];
        },
        close: () => Promise.resolve(),
      },
    });
    const gone = new AbortController();
    const sent = fetch(endpoint.url, {
      method: "POST",
      headers: DRIVER,
      body: '{"query":"SELECT 1"}',
      signal: gone.signal,
    });
    const outcome = sent.catch((error: unknown) => error);
    await arrived.promise;
    gone.abort();
    expect(await outcome).toBeInstanceOf(Error);
    await noticed.promise;
    await endpoint.close();
  });
});
