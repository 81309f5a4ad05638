import { createServer } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { describe, expect } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { connect, execute, transaction } from "../../src/db/client.ts";
import { databaseError, databaseErrorCode, isRefusedForContent, isSafeToRetry, sqlState } from "../../src/db/errors.ts";
import { AppError, ERROR_STATUS } from "../../src/domain/errors.ts";
import { startDatabaseProxy } from "../support/database-proxy.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

/** In every statement: what must never be told to anybody. */
const SAID = "what-a-person-said";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend("proxy", { scope: "file" }, async ({ database }, { onCleanup }) => {
    const proxy = await startDatabaseProxy(database.endpoint);
    onCleanup(() => proxy.close());
    return proxy;
  })
  .extend("db", { scope: "file" }, ({ database, proxy }) =>
    connect({ databaseUrl: database.connectionString, endpoint: proxy.url, deadlineMs: 10_000 }),
  )
  /** What the driver throws for it. */
  .extend("failureOf", { scope: "file" }, ({ db }) => async (statement: SQL, on = db): Promise<unknown> => {
    try {
      await execute(on, statement);
    } catch (error) {
      return error;
    }
    throw new Error("the statement was expected to fail");
  })
  /** The answer to a message whose conversation does this. */
  .extend("answer", { scope: "file" }, ({ database }) => async (submit: (deps: TestDeps) => Promise<never>) => {
    const deps = createTestDeps({ endpoint: database.endpoint });
    deps.conversation = () => ({ submit: () => submit(deps) }) as never;
    const response = await createTestApp(() => deps).request("/api/messages", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Trace-ID": "the-trace" },
      body: JSON.stringify({ instance_id: INSTANCE.chat, request_id: "r1", content: SAID, device_id: "d1" }),
    });
    const line = deps.lines.find(({ event }) => event === "request");
    return { status: response.status, text: await response.clone().text(), body: (await response.json()) as any, line };
  });

/** What fails in nobody's tests by itself: Postgres' own error with an SQLSTATE. */
const raise = (state: string) => sql.raw(`do $$ begin raise sqlstate '${state}' using message = '${SAID}'; end $$`);

const brand = (values: SQL) => sql`insert into brands (id, name) values ${values}`;
const twice = sql`insert into brands (id, name) values (${ACME}, ${SAID})`;
const identifier = (value: SQL) =>
  sql`insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value) ${value}`;

describe("what Postgres refuses", () => {
  it.for([
    ["a row that is there already", "DUPLICATE_KEY", "23505", () => twice],
    [
      "a row that refers to nothing",
      "DATABASE_CONSTRAINT_ERROR",
      "23503",
      () => identifier(sql`values (${ACME}, ${ACME}, 'web', 'email', ${SAID})`),
    ],
    ["a column left empty", "DATABASE_CONSTRAINT_ERROR", "23502", () => brand(sql`(${crypto.randomUUID()}, null)`)],
    [
      "a value outside a closed list",
      "DATABASE_CONSTRAINT_ERROR",
      "23514",
      () => sql`update instances set channel = ${SAID}`,
    ],
    [
      "JSON of the wrong kind",
      "DATABASE_CONSTRAINT_ERROR",
      "23514",
      () => sql`update brands set metadata_json = ${`["${SAID}"]`}::jsonb`,
    ],
    ["text that is no id", "DATABASE_ERROR", "22P02", () => sql`select * from brands where id = ${SAID}::uuid`],
    [
      "a number too large",
      "DATABASE_ERROR",
      "22003",
      () => sql`update brands set retention_days = ${"99999999999"}::int8::int4`,
    ],
    ["a NUL in JSON", "DATABASE_ERROR", "22P05", () => sql`select ${`{"a":"${SAID}\\u0000"}`}::jsonb`],
    ["a table that does not exist", "DATABASE_ERROR", "42P01", () => sql`select ${SAID} from nowhere`],
    ["a division by zero", "DATABASE_ERROR", "22012", () => sql`select ${SAID}, 1 / 0`],
  ] as const)("a Postgres error is translated: %s is %s (%s)", async ([, code, state, statement], { failureOf }) => {
    const failure = await failureOf(statement());
    expect([sqlState(failure), databaseErrorCode(failure)]).toEqual([state, code]);
  });

  it("any other constraint violation is DATABASE_CONSTRAINT_ERROR [F5.1.1, I8.3]", async ({ failureOf }) => {
    const states = ["23000", "23001", "23502", "23503", "23514", "23P01"];
    const codes = await Promise.all(states.map(async (state) => databaseErrorCode(await failureOf(raise(state)))));
    expect(codes).toEqual(states.map(() => "DATABASE_CONSTRAINT_ERROR"));
  });

  it("both wordings of a unique violation are a duplicate [F5.1.7, I8.1, F5.1.8, I8.2]", async ({ failureOf }) => {
    const failure = await failureOf(twice);
    expect(String(failure)).toMatch(/duplicate key value violates unique constraint/);
    expect(databaseErrorCode(failure)).toBe("DUPLICATE_KEY");
    // The words are in the language of the server: the code alone decides.
    const worded = await failureOf(
      sql.raw("do $$ begin raise unique_violation using message = 'doppelter Schlüsselwert'; end $$"),
    );
    expect(databaseErrorCode(worded)).toBe("DUPLICATE_KEY");
    const misworded = await failureOf(
      sql.raw("do $$ begin raise 'duplicate key value violates unique constraint'; end $$"),
    );
    expect(databaseErrorCode(misworded)).toBe("DATABASE_ERROR");
  });

  it("any other Postgres error is DATABASE_ERROR [F5.1.5]", async ({ failureOf }) => {
    const states = ["22001", "25006", "42601", "P0001", "XX000", "0A000"];
    const codes = await Promise.all(states.map(async (state) => databaseErrorCode(await failureOf(raise(state)))));
    expect(codes).toEqual(states.map(() => "DATABASE_ERROR"));
  });

  it("a translated error has a code and a status, and holds no SQL, parameter or host [F5.1.6]", async ({
    failureOf,
  }) => {
    for (const statement of [twice, raise("XX000"), sql`select ${SAID}::uuid`]) {
      const failure = await failureOf(statement);
      const told = databaseError(failure);
      if (!(told instanceof AppError)) throw new Error("it is a refusal");
      expect([ERROR_STATUS[told.code][0], told.details, told.cause]).toEqual([500, {}, failure]);
      expect(told.message).toBe("The database could not complete the request");
    }
  });
});

describe("what doesn't come back from Postgres", () => {
  it.for([
    ["57014", "a statement that was stopped"],
    ["55P03", "a lock that was not to be had"],
  ] as const)(
    "a request that exceeds the database's deadline is a timeout: %s, %s [F5.1.3]",
    async ([state], { failureOf }) => {
      expect(databaseErrorCode(await failureOf(raise(state)))).toBe("TIMEOUT_ERROR");
    },
  );

  it("a request that exceeds our deadline is a timeout [F5.1.3]", async ({ database, proxy, failureOf }) => {
    const impatient = connect({ databaseUrl: database.connectionString, endpoint: proxy.url, deadlineMs: 100 });
    proxy.next("hang");
    const failure = await failureOf(sql`select 1`, impatient);
    expect([databaseErrorCode(failure), sqlState(failure)]).toEqual(["TIMEOUT_ERROR", null]);
  });

  it.for(["08000", "08001", "08003", "08006", "57P01", "57P02", "57P03", "53300", "53200"])(
    "a broken connection is a connection error: %s [F5.1.4]",
    async (state, { failureOf }) => {
      expect(databaseErrorCode(await failureOf(raise(state)))).toBe("DATABASE_CONNECTION_ERROR");
    },
  );

  it.for(["drop", "reset", "cut"] as const)(
    "a network failure is a connection error: %s [F5.1.4]",
    async (fault, { proxy, failureOf }) => {
      proxy.next(fault);
      expect(databaseErrorCode(await failureOf(sql`select 1`))).toBe("DATABASE_CONNECTION_ERROR");
      expect(proxy.felt(fault)).toBe(1);
    },
  );

  it.for([
    ["breaks off", "DATABASE_CONNECTION_ERROR", (response: ServerResponse) => void response.destroy()],
    ["stops", "TIMEOUT_ERROR", () => undefined],
  ] as const)(
    "an answer that %s in its middle is %s [F5.1.3, F5.1.4]",
    async ([, code, end], { database, failureOf }) => {
      const server = createServer((request, response) => {
        response.writeHead(200, { "Content-Type": "application/json" });
        response.write('{"results": [', () => end(response));
        request.resume();
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      try {
        const { port } = server.address() as AddressInfo;
        const endpoint = `http://127.0.0.1:${port}/sql`;
        const half = connect({ databaseUrl: database.connectionString, endpoint, deadlineMs: 200 });
        expect(databaseErrorCode(await failureOf(sql`select 1`, half))).toBe(code);
      } finally {
        server.close();
        server.closeAllConnections();
      }
    },
  );

  it("a refused connection is a connection error [F5.1.4]", async ({ proxy, failureOf }) => {
    await proxy.leave();
    expect(databaseErrorCode(await failureOf(sql`select 1`))).toBe("DATABASE_CONNECTION_ERROR");
    await proxy.back();
  });

  it("an unreachable database and a bug are never confused", () => {
    for (const bug of [
      new TypeError("x is undefined"),
      new Error("EPIPE"),
      Object.assign(new Error(), { code: "EPIPE" }),
      "text",
      null,
    ]) {
      expect([databaseErrorCode(bug), databaseError(bug)]).toEqual([null, bug]);
    }
  });

  it("a database error is recognised below any wrapper", async ({ failureOf, db }) => {
    const failure = await failureOf(raise("40001"));
    expect(sqlState(new Error("outer", { cause: new Error("inner", { cause: failure }) }))).toBe("40001");
    // Drizzle's own wrapping, when a statement is run by itself.
    const wrapped = await db.execute(raise("40P01")).catch((error: unknown) => error);
    expect([(wrapped as Error).message.startsWith("Failed query"), isSafeToRetry(wrapped)]).toEqual([true, true]);
  });
});

describe("whether it may be sent again", () => {
  it.for([
    ["a deadlock", "40P01", "F5.2.1"],
    ["a lock that was not to be had", "55P03", "F5.2.2"],
    ["a connection that was refused", "08001", "F5.2.3"],
    ["a connection that was rejected", "08004", "F5.2.3"],
    ["a server that is going down", "57P01", "F5.2.3"],
    ["a server that is starting", "57P03", "F5.2.3"],
    ["a server without room", "53300", "F5.2.3"],
    ["transactions that could not both be", "40001", "F5.2.4"],
  ] as const)("a failed transaction may be repeated safely after %s, %s [%s]", async ([, state], { failureOf }) => {
    expect(isSafeToRetry(await failureOf(raise(state)))).toBe(true);
  });

  it.for([
    ["a row that is there already: it may be ours", "23505"],
    ["a connection lost on the way: it may have been committed", "08006"],
    ["a commit of which nobody knows", "08007"],
    ["a statement that was stopped: it will be as slow again", "57014"],
    ["a full disk", "53100"],
    ["a wrong value", "22P02"],
    ["a wrong statement", "42601"],
  ] as const)("a failed transaction may not be repeated after %s, %s [F5.2.5]", async ([, state], { failureOf }) => {
    expect(isSafeToRetry(await failureOf(raise(state)))).toBe(false);
  });

  it("a request that never reached Postgres may not be repeated [F5.2.5]", async ({ proxy, failureOf }) => {
    proxy.next("cut");
    expect(isSafeToRetry(await failureOf(sql`select 1`))).toBe(false);
    expect(isSafeToRetry(new Error("40001"))).toBe(false);
  });

  it.for([
    ["its form", "22P02", true],
    ["a constraint", "23514", true],
    ["its size", "54000", true],
    ["a deadlock", "40P01", false],
    ["a missing table", "42P01", false],
  ] as const)(
    "an error about the content itself is permanent: %s, %s: %s",
    async ([, state, forEver], { failureOf }) => {
      expect(isRefusedForContent(await failureOf(raise(state)))).toBe(forEver);
    },
  );
});

describe("a request during which something goes wrong", () => {
  it("a database error becomes a response, and its log line has the trace id [F5.3.1, F1.3.2]", async ({ answer }) => {
    const { status, body, line } = await answer((deps) => transaction(deps.db, [raise("XX000")]) as never);
    expect([status, body.error.code, body.trace_id]).toEqual([500, "DATABASE_ERROR", "the-trace"]);
    expect(line).toMatchObject({
      level: "error",
      trace_id: "the-trace",
      error_code: "DATABASE_ERROR",
      error: { code: "XX000" },
    });
  });

  it("a duplicate is named in the response, and the key in the log [F5.1.2]", async ({ answer }) => {
    const { body, line, text } = await answer((deps) => transaction(deps.db, [twice]) as never);
    expect(body.error).toEqual({ code: "DUPLICATE_KEY", message: expect.any(String), details: {} });
    expect(line).toMatchObject({ error_code: "DUPLICATE_KEY", error: { code: "23505", constraint: "brands_pkey" } });
    expect(text + JSON.stringify(line)).not.toContain(SAID);
  });

  it("a failed request leaves nothing it had begun [F5.3.4]", async ({ answer, database }) => {
    const id = crypto.randomUUID();
    const half = sql`insert into brands (id, name) values (${id}, 'half')`;
    const { body } = await answer((deps) => transaction(deps.db, [half, raise("23514")]) as never);
    expect(body.error.code).toBe("DATABASE_CONSTRAINT_ERROR");
    expect(await database.query("select from brands where id = $1", [id])).toEqual([]);
  });

  it("a refusal keeps its code and details and has the trace id [F5.3.2, F5.3.3]", async ({ answer }) => {
    const details = { fields: [{ field: "content", message: "no" }] };
    const refuse = () => Promise.reject(new AppError("VALIDATION_ERROR", "Not like this", { details }));
    const { status, body } = await answer(refuse);
    expect([status, body]).toEqual([
      400,
      { success: false, error: { code: "VALIDATION_ERROR", message: "Not like this", details }, trace_id: "the-trace" },
    ]);
  });

  it("an unknown error is one generic sentence in the response and complete in the log [F5.3.5]", async ({
    answer,
  }) => {
    const { status, body, line } = await answer(() => Promise.reject(new RangeError("index 7 of the secret list")));
    expect([status, body.error]).toEqual([
      500,
      { code: "INTERNAL_ERROR", message: "Something went wrong", details: {} },
    ]);
    expect(line).toMatchObject({
      error: { name: "RangeError", message: "index 7 of the secret list", stack: expect.any(String) },
    });
  });
});
