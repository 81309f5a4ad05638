import { sql } from "drizzle-orm";
import { describe, expect } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { connect, execute, transaction } from "../../src/db/client.ts";
import type { TransactionOptions } from "../../src/db/client.ts";
import { createReader } from "../../src/db/reader.ts";
import { write } from "../../src/db/write.ts";
import { startDatabase } from "../support/database.ts";
import { startDatabaseProxy } from "../support/database-proxy.ts";
import { databaseTest } from "../support/fixtures.ts";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { concurrent: true })
  .extend(
    "open",
    { scope: "file" },
    ({ database }) =>
      (endpoint: string, deadlineMs = 10_000) =>
        connect({ databaseUrl: database.connectionString, endpoint, deadlineMs }),
  )
  .extend("db", { scope: "file" }, ({ database, open }) => open(database.endpoint))
  .extend(
    "things",
    { scope: "file" },
    ({ database }) =>
      async () =>
        (await database.query("select id from things order by id")).map(({ id }) => Number(id)),
  )
  .extend(
    "settingIn",
    { scope: "file" },
    ({ db }) =>
      async (name: string, options?: TransactionOptions) =>
        (await transaction(db, [setting(name)], options))[0]?.[0]?.["value"],
  );
it.beforeAll(({ database }) => database.query("create table things (id int primary key)"));

it.beforeEach(async ({ database }) => {
  await database.query("truncate things");
  database.forget();
});

const put = (id: number) => sql`insert into things values (${id})`;
const refuse = sql`select 1 / 0`;
/** Ends like this statement does: Postgres' own error with an SQLSTATE. */
const raise = (state: string) => sql.raw(`do $$ begin raise sqlstate '${state}'; end $$`);

const setting = (name: string) => sql`select current_setting(${name}) as value`;

describe("statements that belong together", () => {
  it("the statements of a transaction take one round trip and commit together [F1.1.1, E2.4.1, F1.3.1]", async ({
    db,
    things,
    database,
  }) => {
    const rows = await transaction(db, [put(1), put(2), sql`select count(*)::int as n from things`]);
    expect(rows).toEqual([[], [], [{ n: 2 }]]);
    expect([await things(), database.requests.length]).toEqual([[1, 2], 1]);
  });

  it("a failed statement rolls back its transaction and leaves the next one unharmed [F1.1.2, E2.4.2, E2.3.2]", async ({
    db,
    things,
  }) => {
    await expect(transaction(db, [put(1), refuse, put(2)])).rejects.toMatchObject({ code: "22012" });
    expect(await things()).toEqual([]);
    await transaction(db, [put(3)]);
    expect(await things()).toEqual([3]);
  });

  it.for([
    ["read committed", "read committed"],
    ["repeatable read", "repeatable read"],
    ["serializable", "serializable"],
    [undefined, "read committed"],
  ] as const)(
    "a transaction has the isolation level it asks for: %s gives %s [F1.1.3]",
    async ([isolationLevel, level], { settingIn }) => {
      expect(await settingIn("transaction_isolation", isolationLevel && { isolationLevel })).toBe(level);
    },
  );

  it("a read-only transaction can't write [F1.1.4]", async ({ db, settingIn }) => {
    await expect(transaction(db, [put(1)], { readOnly: true })).rejects.toMatchObject({ code: "25006" });
    expect([
      await settingIn("transaction_read_only", { readOnly: true }),
      await settingIn("transaction_read_only"),
    ]).toEqual(["on", "off"]);
  });

  it("Postgres ends a statement at the transaction's timeout and affects no other transaction [F1.1.5]", async ({
    settingIn,
    database,
    db,
    things,
  }) => {
    expect(await settingIn("statement_timeout", { statementTimeoutMs: 50 })).toBe("50ms");
    expect(await settingIn("statement_timeout")).toBe("0");
    // The Postgres in memory has no clock that could interrupt it: there its own error stands for it.
    const tooLong = database.isConcurrent ? sql`select pg_sleep(10)` : raise("57014");
    await expect(transaction(db, [put(1), tooLong], { statementTimeoutMs: 50 })).rejects.toMatchObject({
      code: "57014",
    });
    expect(await things()).toEqual([]);
  });

  it("one transaction takes isolation level, access mode and timeout together", async ({ db }) => {
    const options = { isolationLevel: "serializable", readOnly: true, statementTimeoutMs: 1_234 } as const;
    const names = ["transaction_isolation", "transaction_read_only", "statement_timeout"];
    const rows = await transaction(db, names.map(setting), options);
    expect(rows.flat().map(({ value }) => value)).toEqual(["serializable", "on", "1234ms"]);
  });

  it("a transaction without statements sends no request", async ({ db, database }) => {
    expect([await transaction(db, []), database.requests.length]).toEqual([[], 0]);
  });

  it.for([["57P01"], ["08006"], ["40001"], ["53300"]] as const)(
    "a connection failure reaches the caller as it is: %s [F1.1.6]",
    async ([state], { db }) => {
      await expect(transaction(db, [raise(state)])).rejects.toMatchObject({ name: "NeonDbError", code: state });
    },
  );

  it("a failed write of a service has a code of the error table [F1.1.7]", async ({ db }) => {
    await expect(write(db, [raise("42P01")])).rejects.toMatchObject({ name: "AppError", code: "DATABASE_ERROR" });
    const read = createReader(db)({ statement: raise("42P01"), read: (rows) => rows });
    await expect(read).rejects.toMatchObject({ name: "AppError", code: "DATABASE_ERROR" });
  });

  it("a bug in a statement sends nothing and is not reported as an unreachable database [F1.1.8]", async ({
    db,
    database,
  }) => {
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    const broken = sql`select ${circle}`;
    for (const attempt of [
      () => transaction(db, [broken]),
      () => write(db, [broken]),
      () => createReader(db)({ statement: broken, read: (rows) => rows }),
    ]) {
      await expect(attempt()).rejects.toThrow(TypeError);
    }
    expect(database.requests).toHaveLength(0);
  });
});

describe("a database that is opened", () => {
  it("a session of the database uses UTC [E2.2.1]", async ({ settingIn, db }) => {
    expect(await settingIn("TimeZone")).toBe("UTC");
    const [row] = await execute(
      db,
      sql`select timestamptz '2026-11-22 12:00+02' as at, now()::text like '%+00' as is_utc`,
    );
    expect(row).toEqual({ at: "2026-11-22 10:00:00+00", is_utc: true });
  });

  it("two databases in one process are kept apart [F1.3.3, E2.3.1]", async ({ open, db, things }) => {
    const other = await startDatabase();
    try {
      await other.query("create table things (id int primary key)");
      const otherDb = open(other.endpoint);
      await Promise.all([transaction(db, [put(1)]), transaction(otherDb, [put(2)])]);
      await transaction(db, [put(3)]);
      expect(await things()).toEqual([1, 3]);
      expect(await other.query("select id from things")).toEqual([{ id: "2" }]);
    } finally {
      await other.close();
    }
  });

  it.each([
    ["nothing", {}],
    ["nothing but an endpoint", { NEON_ENDPOINT: "http://127.0.0.1:1/sql" }],
    ["an empty address", { DATABASE_URL: "" }],
  ])("the service does not start with %s as its database [F1.3.4]", (_, env) => {
    expect(() => parseConfig({ ADDRESS_KEY: "an-address-key-that-only-tests-have", ...env })).toThrow(
      /^DATABASE_URL is required$/,
    );
  });

  it("each request to the database has its own deadline", async ({ database, open }) => {
    const proxy = await startDatabaseProxy(database.endpoint);
    try {
      const impatient = open(proxy.url, 300);
      for (let request = 0; request < 4; request += 1) {
        await execute(impatient, sql`select pg_sleep(0.1)`);
      }
      proxy.next("hang");
      await expect(execute(impatient, sql`select 1`)).rejects.toMatchObject({
        name: "NeonDbError",
        sourceError: { name: "TimeoutError" },
      });
    } finally {
      await proxy.close();
    }
  });
});
