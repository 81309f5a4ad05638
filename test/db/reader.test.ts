import { sql } from "drizzle-orm";
import { describe, expect } from "vitest";
import { connect } from "../../src/db/client.ts";
import { createReader, query } from "../../src/db/reader.ts";
import type { Query } from "../../src/db/reader.ts";
import { databaseTest } from "../support/fixtures.ts";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: false })
  .extend("db", { scope: "file" }, ({ database }) =>
    connect({ databaseUrl: database.connectionString, endpoint: database.endpoint, deadlineMs: 10_000 }),
  );
it.beforeEach(({ database }) => database.forget());

const number = (n: number): Query<number> =>
  query(sql<{ n: number }>`select ${n}::int as n`, ([row]) => Number(row?.n));

describe("what is asked in one tick", () => {
  it("queries of one tick share a round trip and get their own results", async ({ db, database }) => {
    const read = createReader(db);
    const later = Promise.resolve().then(() => read(number(4)));
    expect(await Promise.all([read(number(1)), read(number(2)), read(number(3)), later])).toEqual([1, 2, 3, 4]);
    expect(database.requests).toHaveLength(1);
  });

  it("a query of a later tick takes another round trip", async ({ db, database }) => {
    const read = createReader(db);
    expect([await read(number(1)), await read(number(2))]).toEqual([1, 2]);
    expect(database.requests).toHaveLength(2);
  });

  it("queries of two invocations are never combined", async ({ db, database }) => {
    await Promise.all([createReader(db)(number(1)), createReader(db)(number(2))]);
    expect(database.requests).toHaveLength(2);
  });

  it("one refused query fails the whole batch and leaves the next one unharmed", async ({ db }) => {
    const read = createReader(db);
    const broken: Query<number> = { statement: sql`select 1 / 0`, read: () => 0 };
    const outcomes = await Promise.allSettled([read(number(1)), read(broken)]);
    expect(outcomes.map((outcome) => outcome.status === "rejected" && outcome.reason.code)).toEqual([
      "DATABASE_ERROR",
      "DATABASE_ERROR",
    ]);
    expect(await read(number(5))).toBe(5);
  });

  it("a query whose rows can't be parsed fails alone", async ({ db }) => {
    const read = createReader(db);
    const unreadable: Query<number> = {
      statement: sql`select 1`,
      read: () => {
        throw new RangeError("odd");
      },
    };
    const outcomes = await Promise.allSettled([read(unreadable), read(number(1))]);
    expect(outcomes).toMatchObject([{ reason: new RangeError("odd") }, { value: 1 }]);
  });

  it("a reader can't write", async ({ db }) => {
    const read = createReader(db);
    const writes: Query<void> = { statement: sql`create table t (id int)`, read: () => undefined };
    await expect(read(writes)).rejects.toMatchObject({ code: "DATABASE_ERROR", cause: { code: "25006" } });
  });
});
