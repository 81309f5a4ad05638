import { NeonDbError } from "@neondatabase/serverless";
import { sql } from "drizzle-orm";
import { describe, expect } from "vitest";
import { connect } from "../../src/db/client.ts";
import { createReader } from "../../src/db/reader.ts";
import { withRetry } from "../../src/db/retry.ts";
import type { RetryOptions } from "../../src/db/retry.ts";
import { write } from "../../src/db/write.ts";
import { startDatabaseProxy } from "../support/database-proxy.ts";
import { databaseTest } from "../support/fixtures.ts";
const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: false })
  .extend("proxy", { scope: "file" }, async ({ database }, { onCleanup }) => {
    const proxy = await startDatabaseProxy(database.endpoint);
    onCleanup(() => proxy.close());
    return proxy;
  })
  .extend("db", { scope: "file" }, async ({ database, proxy }) => {
    await database.query("create table things (id int primary key)");
    return connect({ databaseUrl: database.connectionString, endpoint: proxy.url, deadlineMs: 10_000 });
  });

const failure = (code?: string) => Object.assign(new NeonDbError("told to fail"), code === undefined ? {} : { code });
const DEADLOCK = failure("40P01");
const LOST = failure();

/** A run of something that fails as it is told, under a clock that only sleeping moves. */
async function attempt(failures: unknown[], options: Partial<RetryOptions> = {}, lastsMs = 0) {
  const slept: number[] = [];
  let clock = 0;
  let runs = 0;
  const work = async () => {
    const error = failures[runs];
    runs += 1;
    clock += lastsMs;
    if (error !== undefined) throw error;
    return "done";
  };
  const defaults = {
    now: () => clock,
    random: () => 1,
    sleep: async (ms: number) => {
      slept.push(ms);
      clock += ms;
    },
  };
  const outcome = await withRetry(work, { ...defaults, ...options }).catch((error: unknown) => error);
  return { outcome, runs, slept };
}

describe("a transaction that may be sent again", () => {
  it("a transaction that succeeds is sent once [F1.2.1]", async () => {
    expect(await attempt([])).toEqual({ outcome: "done", runs: 1, slept: [] });
  });

  it.each([
    ["a deadlock", "40P01"],
    ["a serialisation failure", "40001"],
    ["a server that is starting", "57P03"],
    ["no connection to be had", "53300"],
  ])("a transaction without effect is sent again after a pause: %s (%s) [F1.2.2]", async (_, code) => {
    expect(await attempt([failure(code), failure(code)])).toEqual({ outcome: "done", runs: 3, slept: [50, 100] });
  });

  it("a transaction that waited too long for a lock is sent again [F1.2.4]", async () => {
    expect(await attempt([failure("55P03")])).toEqual({ outcome: "done", runs: 2, slept: [50] });
  });

  it("a transaction that exceeded its own timeout is not sent again [F1.2.4]", async () => {
    const timeout = failure();
    timeout.sourceError = new DOMException("too long", "TimeoutError");
    expect(await attempt([timeout], { isRepeatable: true })).toEqual({ outcome: timeout, runs: 1, slept: [] });
    const stopped = failure("57014");
    expect(await attempt([stopped], { isRepeatable: true })).toEqual({ outcome: stopped, runs: 1, slept: [] });
  });

  it("a transaction is sent at most three times, and the last failure is reported [F1.2.5, C6.4.5]", async () => {
    const failures = ["40001", "40001", "40P01", "40001"].map(failure);
    expect(await attempt(failures)).toEqual({ outcome: failures[2], runs: 3, slept: [50, 100] });
  });

  it.each([
    ["a constraint", failure("23514")],
    ["a key that is there already: it is done, not to be done again", failure("23505")],
    ["a wrong statement", failure("42601")],
    ["a bug", new TypeError("x is undefined")],
  ])("a transaction is not sent again after %s [F1.2.6]", async (_, error) => {
    expect(await attempt([error], { isRepeatable: true })).toEqual({ outcome: error, runs: 1, slept: [] });
  });

  it("a transaction is sent again after a lost connection only when it is idempotent", async () => {
    expect((await attempt([LOST])).outcome).toBe(LOST);
    expect(await attempt([LOST, failure("08006")], { isRepeatable: true })).toMatchObject({ outcome: "done", runs: 3 });
  });

  it("the pause between attempts doubles and is random from zero to its limit [F1.2.7]", async () => {
    const failures = Array.from({ length: 6 }, () => DEADLOCK);
    const pausesWith = async (random: () => number) =>
      (await attempt(failures, { attempts: 6, baseMs: 10, random })).slept;
    expect(await pausesWith(() => 1)).toEqual([10, 20, 40, 80, 160]);
    expect(await pausesWith(() => 0.5)).toEqual([5, 10, 20, 40, 80]);
    expect(await pausesWith(() => 0)).toEqual([0, 0, 0, 0, 0]);
    const draws = [0.1, 0.9, 0.3, 0.7, 0.5];
    expect(await pausesWith(() => draws.shift() ?? 0)).toEqual([1, 18, 12, 56, 80]);
  });

  it("a transaction is abandoned at its deadline with attempts left", async () => {
    const failures = Array.from({ length: 9 }, () => DEADLOCK);
    // 400 ms a run: the third ends at 1,350 ms, and after a pause of 200 ms nothing would be left of 1,500.
    expect(await attempt(failures, { attempts: 9, deadlineMs: 1_500 }, 400)).toMatchObject({
      outcome: DEADLOCK,
      runs: 3,
      slept: [50, 100],
    });
  });
});

describe("what a service asks of a database that stumbles", () => {
  const put = (id: number) => sql`insert into things values (${id}) on conflict do nothing returning id`;
  const one = { statement: sql`select 1 as n`, read: (rows: Record<string, unknown>[]) => rows[0]?.["n"] };

  it.for(["drop", "reset", { sqlState: "57P01" }, { sqlState: "40001" }] as const)(
    "a write succeeds after transient failures: %j [F1.2.2]",
    async (fault, { proxy, db }) => {
      proxy.next(fault, fault);
      expect(await createReader(db)(one)).toBe(1);
      proxy.next(fault);
      await write(db, [put(1)]);
      expect(proxy.felt(fault)).toBe(3);
    },
  );

  it("a write whose response was lost is stored once", async ({ proxy, db, database }) => {
    proxy.next("cut");
    expect(await write(db, [put(7)])).toEqual([[]]);
    expect(await database.query("select count(*) as n from things where id = 7")).toEqual([{ n: "1" }]);
  });

  it("a write that keeps failing has a code of the error table [F1.2.5]", async ({ proxy, db }) => {
    proxy.next(...Array.from({ length: 3 }, () => ({ sqlState: "40P01" })));
    await expect(write(db, [put(2)])).rejects.toMatchObject({ name: "AppError", code: "DATABASE_ERROR" });
    proxy.next("drop", "drop", "drop");
    await expect(createReader(db)(one)).rejects.toMatchObject({ name: "AppError", code: "DATABASE_CONNECTION_ERROR" });
  });
});
