import { describe, expect, it } from "vitest";
import { createRoute, z } from "@hono/zod-openapi";
import { createApp } from "../../src/app.ts";
import { refusals, success } from "../../src/http/openapi.ts";
import { respond } from "../../src/http/respond.ts";
import { createRouter } from "../../src/http/router.ts";
import { checkContract } from "../support/contract.ts";

const contract = createRoute({
  method: "get",
  path: "/reply",
  responses: { 200: success("The reply", z.object({ text: z.string() })), ...refusals("FORBIDDEN") },
});

describe("the type of a contract", () => {
  it("a handler that answers what its contract states compiles", () => {
    createRouter().openapi(contract, (c) => respond(c, 200, { text: "Hi" }, "Found"));
  });

  it("a handler that renames a field of its answer does not compile", () => {
    // @ts-expect-error The contract's field is `text`.
    createRouter().openapi(contract, (c) => respond(c, 200, { words: "Hi" }, "Found"));
  });

  it("a handler that answers with another type of field does not compile", () => {
    // @ts-expect-error The contract's field is a string.
    createRouter().openapi(contract, (c) => respond(c, 200, { text: 7 }, "Found"));
  });

  it("a handler that answers with another status does not compile", () => {
    // @ts-expect-error The contract has no 202.
    createRouter().openapi(contract, (c) => respond(c, 202, { text: "Hi" }, "Found"));
  });

  it("a handler that answers with an untyped response does not compile", () => {
    // @ts-expect-error A `Response` states nothing.
    createRouter().openapi(contract, () => new Response("Hi"));
  });
});

/** Every response of the route tests goes through `checkContract`; here it is shown that differences are found. */
describe("the check of a response against its contract", () => {
  const headers = new Headers({
    "X-Trace-ID": "t1",
    "X-Content-Type-Options": "nosniff",
    "Content-Type": "application/json; charset=utf-8",
  });
  const app = createApp();
  const check = (path: string, status: number, body: unknown, others: Record<string, string> = {}) =>
    checkContract(app, "GET", path, {
      status,
      headers: new Headers([...headers, ...Object.entries(others)]),
      text: JSON.stringify(body),
    });
  const error = (code: string) => ({ success: false, error: { code, message: "No", details: {} }, trace_id: "t1" });
  const LIST = "/api/v1/conversations";

  it("a response that its contract states passes the check", () => {
    check("/live", 200, { status: "alive" });
    check(LIST, 403, error("FORBIDDEN"));
    check(LIST, 503, error("SERVICE_UNAVAILABLE"), { "Retry-After": "5" });
    check("/nowhere", 404, error("ROUTE_NOT_FOUND"));
  });

  it.each<[string, string, number, unknown]>([
    ["a status that is not documented", "/live", 202, { status: "alive" }],
    ["a value that is not documented", "/live", 200, { status: "dead" }],
    ["a field that is missing", "/live", 200, {}],
    ["a field that is not documented", "/live", 200, { status: "alive", since: 1 }],
    ["a code of another operation", LIST, 403, error("MALFORMED_JSON")],
    ["an error with a field too many", LIST, 403, { ...error("FORBIDDEN"), stack: "at" }],
    ["an error with another request's trace id", LIST, 403, { ...error("FORBIDDEN"), trace_id: "t2" }],
    ["a 503 that does not tell when to retry", LIST, 503, error("SERVICE_UNAVAILABLE")],
    ["a code that no unknown route has", "/nowhere", 403, error("FORBIDDEN")],
  ])("the check of a response finds %s", (_what, path, status, body) => {
    expect(() => check(path, status, body)).toThrow("against its contract");
  });
});
