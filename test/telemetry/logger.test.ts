import { NeonDbError } from "@neondatabase/serverless";
import { sql } from "drizzle-orm";
import { DrizzleQueryError } from "drizzle-orm/errors";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config.ts";
import { connect } from "../../src/db/client.ts";
import { createLogger } from "../../src/telemetry/logger.ts";
import type { LogFields } from "../../src/telemetry/logger.ts";
import { startDatabase } from "../support/database.ts";

type Options = Parameters<typeof createLogger>[0];

/** A logger with what it has written. */
function start(options: Partial<Options> = {}, context?: LogFields) {
  const written: string[] = [];
  const write = (line: string) => void written.push(line);
  const defaults = { level: "debug", format: "json", write, now: () => Date.UTC(2026, 10, 22) } as const;
  const log = createLogger({ ...defaults, ...options }, context);
  return { log, written, last: (): any => JSON.parse(written.at(-1) ?? "") };
}

describe("a line of the log", () => {
  it("a log line is one JSON object on one line [F6.1.1]", () => {
    const { log, written } = start();
    log.info("request", { text: 'two\nlines and "quotes"\u2028', nested: { list: [1, null, true] } });
    expect(written).toHaveLength(1);
    expect(written[0]).not.toMatch(/\n|\u2028/);
    expect(JSON.parse(written[0] ?? "")).toMatchObject({ nested: { list: [1, null, true] } });
  });

  it("a log line begins with time, level, logger and event, which no field can override [F6.1.2]", () => {
    const { log, written } = start({ name: "worker" });
    log.warn("turn_failed", { level: "info", event: "fake", timestamp: "1970", logger: "other", kept: 1 });
    expect(written[0]).toBe(
      '{"timestamp":"2026-11-22T00:00:00.000Z","level":"warn","logger":"worker","event":"turn_failed","kept":1}',
    );
  });

  it("a log line has an error's stack and causes [F6.1.3]", () => {
    const { log, last } = start();
    log.error("turn_failed", { error: new TypeError("outer", { cause: new RangeError("inner") }) });
    expect(last().error).toMatchObject({
      name: "TypeError",
      message: "outer",
      stack: expect.stringContaining("logger.test.ts"),
      cause: { name: "RangeError", message: "inner", stack: expect.stringContaining("RangeError: inner") },
    });
  });

  it("a log line shows an error in any field and ends at a circular cause", () => {
    const { log, last } = start();
    const circle = new Error("round and round");
    circle.cause = circle;
    log.error("turn_failed", { reason: new Error("second"), error: circle });
    expect(last()).toMatchObject({ reason: { message: "second" }, error: { cause: { message: "round and round" } } });
  });

  it("a log line shows a thrown value that is no error", () => {
    const { log, last } = start();
    log.error("turn_failed", { error: "just a text", other: new Error("odd", { cause: 7 }) });
    expect(last()).toMatchObject({ error: "just a text", other: { cause: { message: "7" } } });
  });

  it.each([
    [
      "by the name of its field",
      { password: "p1", apiKey: "k1", nested: { authorization: "a1", deep: [{ token: "t1" }] } },
    ],
    [
      "by its form, wherever it stands",
      { text: "Bearer abcdefghijkl and parley_live_1234567890", list: ["ann@example.com"] },
    ],
    ["in an error's message", { error: new Error("401 for Bearer abcdefghijkl, user ann@example.com") }],
    ["in an error's cause", { error: new Error("x", { cause: new Error("password=hunter22 +14155550123") }) }],
    ["in a text of a URL", { url: "postgresql://admin:hunter22@db.example.com/parley" }],
  ])("a log line holds no secret and no personal address: found %s [F6.1.4]", (_, fields) => {
    const { log, written } = start();
    log.info("request", { ...fields, kept: "yes" });
    expect(written[0]).not.toMatch(/p1|k1|a1"|t1|abcdefghijkl|parley_live|ann@|hunter22|4155550123/);
    expect(written[0]).toContain('"kept":"yes"');
  });

  it("a log line is written for any value, as far as JSON can show it [F6.1.5]", () => {
    const { log, last } = start();
    const circle: Record<string, unknown> = { name: "circle" };
    circle["self"] = circle;
    const throwing = Object.defineProperty({}, "gone", {
      enumerable: true,
      get: () => {
        throw new Error("gone");
      },
    });
    log.info("request", {
      circle,
      throwing,
      big: 12345678901234567890n,
      nothing: undefined,
      nan: Number.NaN,
      run: () => 1,
      symbol: Symbol("s"),
      when: new Date(0),
      never: new Date(Number.NaN),
      bare: Object.create(null),
      half: "\ud800",
      kept: true,
    });
    expect(last()).toMatchObject({
      circle: { name: "circle", self: null },
      throwing: expect.stringContaining("could not be logged"),
      big: "12345678901234567890",
      nan: null,
      run: null,
      when: "1970-01-01T00:00:00.000Z",
      never: null,
      half: "\ufffd",
      kept: true,
    });
  });

  it("a log line has a size limit and says when fields are left out [F6.5.4]", () => {
    const { log, written, last } = start({}, { trace_id: "t" });
    const huge = Array.from({ length: 100 }, () => "x".repeat(10_000));
    log.info("request", { before: 1, huge, after: 2 });
    expect(Buffer.byteLength(written[0] ?? "")).toBeLessThanOrEqual(65_536);
    expect(last()).toEqual(expect.objectContaining({ trace_id: "t", before: 1, after: 2, truncated: true }));
    for (let n = 0; n < 1_000; n += 1) log.info("request");
    expect(written.every((line) => line.length < 65_536)).toBe(true);
    expect(written).toHaveLength(1_001);
  });
});

describe("an error of the database", () => {
  const SAID = "what a person said";

  it("a database error is logged by code and place, without any user content [F6.1.4]", async () => {
    const database = await startDatabase();
    try {
      const db = connect({ databaseUrl: database.connectionString, endpoint: database.endpoint, deadlineMs: 10_000 });
      const { log, last, written } = start();
      const broken = await db.execute(sql`select ${SAID}::uuid`).catch((error: unknown) => error);
      expect(broken).toBeInstanceOf(DrizzleQueryError);
      expect(String(broken)).toContain(SAID);
      log.error("turn_failed", { error: broken });
      expect(last().error).toMatchObject({
        name: "Error",
        stack: expect.stringContaining("    at "),
        cause: { name: "NeonDbError", code: "22P02", routine: "string_to_uuid" },
      });
      expect(written[0]).not.toContain(SAID);
      expect(written[0]).not.toContain("select");
    } finally {
      await database.close();
    }
  });

  it("a database error is logged with the constraint and the missing column", () => {
    const { log, last, written } = start();
    const error = Object.assign(new NeonDbError('duplicate key value violates unique constraint "users_pkey"'), {
      code: "23505",
      constraint: "users_pkey",
      table: "users",
      detail: `Key (id)=(${SAID}) already exists.`,
    });
    const missing = Object.assign(new NeonDbError('relation "people" does not exist'), { code: "42P01" });
    log.error("turn_failed", { error, missing });
    expect(last()).toMatchObject({
      error: { code: "23505", message: expect.stringContaining("users_pkey"), table: "users" },
      missing: { code: "42P01", message: expect.stringContaining("does not exist") },
    });
    expect(written[0]).not.toContain(SAID);
  });

  it("a database error is logged with the reason why Postgres was not reached", () => {
    const { log, last } = start();
    const error = new NeonDbError("Error connecting to database: TypeError: fetch failed");
    error.sourceError = new TypeError("fetch failed", { cause: new Error("connect ECONNREFUSED") });
    log.error("turn_failed", { error });
    expect(last().error).toMatchObject({
      message: expect.stringContaining("fetch failed"),
      cause: { message: "fetch failed", cause: { message: "connect ECONNREFUSED" } },
    });
  });
});

describe("a logger with context", () => {
  const context = { trace_id: "t1", user_id: "u1", session_id: "s1" };

  it("a logger with context adds trace, user and session to every line [F6.2.1, F6.3.1, F6.3.2]", () => {
    const { log, written } = start({}, context);
    for (const level of ["debug", "info", "warn", "error"] as const) log[level]("request");
    expect(written.map((line) => JSON.parse(line))).toEqual(
      ["debug", "info", "warn", "error"].map((level) => expect.objectContaining({ level, ...context })),
    );
  });

  it("a logger with context adds a line's own fields, which win [F6.2.2]", () => {
    const { log, last } = start({}, context);
    log.info("request", { user_id: "u2", tokens: 7 });
    expect(last()).toMatchObject({ trace_id: "t1", user_id: "u2", session_id: "s1", tokens: 7 });
  });

  it("a logger with context logs an exception with its stack [F6.2.3]", () => {
    const { log, last } = start({}, context);
    log.error("turn_failed", { error: new Error("broke") });
    expect(last()).toMatchObject({ trace_id: "t1", error: { stack: expect.stringMatching(/Error: broke\n\s+at /) } });
  });

  it("a logger with context can be extended, and the first one stays unchanged [F6.3.3, F6.4.1, F6.4.2]", () => {
    const { log, written } = start({}, { trace_id: "t1" });
    const nearer = log.with({ turn_id: "turn", trace_id: "t2" }).with({ session_id: "s1" });
    nearer.info("broadcast_round");
    log.info("ledger_written");
    expect(written.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ event: "broadcast_round", trace_id: "t2", turn_id: "turn", session_id: "s1" }),
      expect.not.objectContaining({ turn_id: "turn" }),
    ]);
    expect(JSON.parse(written[1] ?? "")).toMatchObject({ trace_id: "t1" });
  });

  it("a logger returns nothing, so that a caught failure can be logged and replaced", () => {
    expect(start().log.warn("turn_failed")).toBeUndefined();
  });
});

describe("what is logged, and how", () => {
  const configured = (env: Record<string, string>) => {
    const { logLevel, logFormat } = parseConfig({ ENVIRONMENT: "development", DATABASE_URL: "postgresql://x", ...env });
    return start({ level: logLevel, format: logFormat });
  };

  it.each([
    ["debug", ["debug", "info", "warn", "error"]],
    ["info", ["info", "warn", "error"]],
    ["warn", ["warn", "error"]],
    ["error", ["error"]],
    ["", ["info", "warn", "error"]],
  ])("the level LOG_LEVEL=%s decides which lines are written [F6.5.1]", (level, expected) => {
    const { log, written } = configured({ LOG_LEVEL: level });
    for (const each of ["debug", "info", "warn", "error"] as const) log[each]("request");
    expect(written.map((line) => JSON.parse(line).level)).toEqual(expected);
  });

  it("a suppressed line costs nothing: its fields are not read", () => {
    const { log } = start({ level: "error" });
    const fields = {
      get expensive(): string {
        throw new Error("looked at");
      },
    };
    expect(() => log.info("request", fields)).not.toThrow();
  });

  it("a line is JSON unless LOG_FORMAT is text [F6.5.2]", () => {
    const json = configured({});
    json.log.info("request", { status: 200 });
    expect(json.last()).toMatchObject({ event: "request", status: 200 });
    const text = configured({ LOG_FORMAT: "text" });
    text.log.info("request", { status: 200, path: "/a b", list: [1] });
    expect(text.written).toEqual(['2026-11-22T00:00:00.000Z INFO parley request status=200 path="/a b" list=[1]']);
  });

  it.each(["json", "text"] as const)("a line goes to stdout in one call, as %s [F6.5.3]", (format) => {
    const { log, written } = start({ format });
    log.info("request", { text: "a\nb\r\nc" });
    log.error("turn_failed", { error: new Error("first\nsecond") });
    expect(written).toHaveLength(2);
    expect(written.filter((line) => /[\r\n]/.test(line))).toEqual([]);
  });
});
