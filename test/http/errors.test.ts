import { beforeAll, describe, expect, it } from "vitest";
import { sessionIdAt } from "../../src/domain/address.ts";
import { AppError, ERROR_CODES, ERROR_STATUS } from "../../src/domain/errors.ts";
import type { ErrorCode, ErrorStatus } from "../../src/domain/errors.ts";
import { createApp } from "../../src/app.ts";
import { createTestApp } from "../support/contract.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { tokenFor } from "../support/tokens.ts";

/** What clients branch on, for ever: a change here breaks them. */
const TABLE: [ErrorCode, ErrorStatus][] = [
  ["VALIDATION_ERROR", 400],
  ["VALIDATION_ERROR", 422],
  ["MISSING_REQUEST_ID", 400],
  ["INVALID_REQUEST_ID", 400],
  ["INVALID_REQUEST_ID", 422],
  ["UNAUTHORIZED", 401],
  ["FORBIDDEN", 403],
  ["RESOURCE_NOT_FOUND", 404],
  ["DUPLICATE_REQUEST", 409],
  ["CONFLICT", 409],
  ["PRECONDITION_FAILED", 412],
  ["MALFORMED_JSON", 400],
  ["PAYLOAD_TOO_LARGE", 413],
  ["UNSUPPORTED_MEDIA_TYPE", 415],
  ["ROUTE_NOT_FOUND", 404],
  ["METHOD_NOT_ALLOWED", 405],
  ["RATE_LIMITED", 429],
  ["BUDGET_EXCEEDED", 429],
  ["DATABASE_ERROR", 500],
  ["DATABASE_CONSTRAINT_ERROR", 500],
  ["DUPLICATE_KEY", 500],
  ["TIMEOUT_ERROR", 500],
  ["DATABASE_CONNECTION_ERROR", 500],
  ["ORCHESTRATION_ERROR", 502],
  ["SERVICE_UNAVAILABLE", 503],
  ["INTERNAL_ERROR", 500],
];

/** The answer of a service in which a request ends like this. */
async function answerTo(
  thrown: unknown,
  deps: TestDeps = createTestDeps(),
): Promise<{ response: Response; body: any }> {
  // Errors planted here may be of another route's contract.
  const app = createApp(() => ({ ...deps, caches: { ...deps.caches, instances: failing(thrown) } }));
  const response = await app.request("/api/messages", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Trace-ID": "the-trace" },
    body: JSON.stringify({ instance_id: INSTANCE.chat, request_id: "r", content: "Hello" }),
  });
  return { response, body: await response.json() };
}

/** Where the first thing is asked for. */
const failing = (thrown: unknown): any => ({ get: () => Promise.reject(thrown) });

describe("a refusal", () => {
  // A database that is away has a word of its own on this route, told in test/e2e/database-away.test.ts.
  const elsewhere = ["TIMEOUT_ERROR", "DATABASE_CONNECTION_ERROR"];
  const here = TABLE.filter(([code]) => !elsewhere.includes(code));

  it("a refusal for a missing credential names the accepted kind", async () => {
    const { response } = await answerTo(new AppError("UNAUTHORIZED", "Told to fail"));
    expect(response.headers.get("WWW-Authenticate")).toBe("Bearer");
  });

  it.each(here)("the error %s has the status %i [A5.1.1]", async (code, status) => {
    const { response } = await answerTo(new AppError(code, "Told to fail", { status }));
    expect(response.status).toBe(status);
  });

  it.each(here)("a refusal states its code: %s (%i) [A5.1.2]", async (code, status) => {
    const { body } = await answerTo(new AppError(code, "Told to fail", { status }));
    expect(body).toMatchObject({ success: false, error: { code, message: "Told to fail" } });
  });

  it("a refusal states its trace id [A5.1.3]", async () => {
    const { response, body } = await answerTo(new AppError("FORBIDDEN", "No"));
    expect(body.trace_id).toBe("the-trace");
    expect(response.headers.get("X-Trace-ID")).toBe("the-trace");
  });

  it("a refusal states its details, an empty object by default [A5.1.4]", async () => {
    const details = { scope: "user", retry_after_ms: 1_500 };
    const limited = await answerTo(new AppError("RATE_LIMITED", "Too many", { details }));
    const plain = await answerTo(new AppError("FORBIDDEN", "No"));
    expect([limited.body.error.details, plain.body.error.details]).toEqual([details, {}]);
  });

  it("a retry time is rounded up to whole seconds", async () => {
    const details = { retry_after_ms: 1_001 };
    const { response } = await answerTo(new AppError("RATE_LIMITED", "Too many", { details }));
    expect(response.headers.get("Retry-After")).toBe("2");
  });
});

describe("the table of codes", () => {
  it("every error code has a status and is documented", () => {
    const known = TABLE.map(([code, status]) => `${code} ${status}`);
    const ours = ERROR_CODES.flatMap((code) => ERROR_STATUS[code].map((status) => `${code} ${status}`));
    expect(ours.toSorted((a, b) => a.localeCompare(b))).toEqual(known.toSorted((a, b) => a.localeCompare(b)));
  });
});

describe("a conversation whose object can't be asked", () => {
  const AWAY = [
    ["is overloaded", "Durable Object is overloaded. Too many requests queued.", { overloaded: true, retryable: true }],
    ["is on its way elsewhere", "Internal error while starting up", { retryable: true }],
    ["was reset", "Internal error in Durable Object storage caused object to be reset.", { durableObjectReset: true }],
    ["runs new code from now on", "Durable Object reset because its code was updated.", {}],
    ["can't be reached", "Network connection lost.", {}],
  ] as const;

  it.each(AWAY)(
    "a read is refused with a retry time when the conversation's object %s",
    async (_why, message, properties) => {
      const deps = createTestDeps();
      deps.caches.activeBrands.set(ACME, true);
      const unsaved = () => Promise.reject(Object.assign(new Error(message), properties));
      const app = createTestApp(() => ({ ...deps, conversation: () => ({ unsaved }) as never }));
      const token = await tokenFor("01a203c1-5b09-7963-9685-2aef74277b10");
      const response = await app.request(`/api/v1/conversations/${sessionIdAt("somewhere", 1)}/messages`, {
        headers: { Authorization: `Bearer ${token}` },
      });
      const body: any = await response.json();
      expect([response.status, body.error.code]).toEqual([503, "SERVICE_UNAVAILABLE"]);
      expect(response.headers.get("Retry-After")).toBe("5");
      expect(JSON.stringify(body)).not.toContain(message);
      expect(deps.lines.find(({ event }) => event === "request")?.["error"].message).toBe(message);
    },
  );

  it("a bug in a conversation's object is not reported as an outage", async () => {
    const { response } = await answerTo(Object.assign(new TypeError("x is not a function"), { remote: true }));
    expect(response.status).toBe(500);
  });
});

describe("what nobody expected", () => {
  const bug = new TypeError("Cannot read 'secret_column' of undefined at select * from users");
  let deps: TestDeps;
  let answered: Awaited<ReturnType<typeof answerTo>>;
  beforeAll(async () => {
    deps = createTestDeps();
    answered = await answerTo(bug, deps);
  });

  it("an unexpected error is a server error [A5.8.1]", () => {
    expect(answered.response.status).toBe(500);
  });

  it("an unexpected error is logged completely under its trace id [A5.8.2]", () => {
    const line = deps.lines.find(({ event }) => event === "request");
    expect(line).toMatchObject({
      level: "error",
      trace_id: "the-trace",
      error: { name: "TypeError", message: expect.stringContaining("secret_column"), stack: expect.any(String) },
    });
  });

  it("an unexpected error is one generic sentence in the response [A5.8.3]", () => {
    expect(answered.body).toEqual({
      success: false,
      error: { code: "INTERNAL_ERROR", message: "Something went wrong", details: {} },
      trace_id: "the-trace",
    });
  });

  it.each([["a string"], [null], [{ odd: true }]])(
    "a thrown value that is no error is a server error: %j",
    async (thrown) => {
      const { response, body } = await answerTo(thrown);
      expect([response.status, body.error.code]).toEqual([500, "INTERNAL_ERROR"]);
      expect(response.headers.get("X-Trace-ID")).toBe("the-trace");
    },
  );
});
