import { describe, expect, it } from "vitest";
import { echoedRequestId, requireRequestId, wantsReplay } from "../../src/http/request-ids.ts";

const header = (headers: Record<string, string>) => (name: string) => headers[name];
const idOf = (headers: Record<string, string>, body: unknown = {}) => requireRequestId(header(headers), body);
const faultOf = (headers: Record<string, string>, body: unknown = {}) => {
  try {
    return idOf(headers, body);
  } catch (error) {
    const { code, status } = error as { code: string; status: number };
    return `${code} ${status}`;
  }
};

describe("the request id", () => {
  it("the request id is the body's, else Idempotency-Key's, else X-Request-ID's", () => {
    const both = { "Idempotency-Key": "key", "X-Request-ID": "attempt" };
    expect(idOf(both, { request_id: "body" })).toBe("body");
    expect(idOf(both)).toBe("key");
    expect(idOf(both, { request_id: null })).toBe("key");
    expect(idOf({ "X-Request-ID": "attempt" })).toBe("attempt");
  });

  it("the request id stays the same when a proxy writes a new X-Request-ID for each attempt", () => {
    const attempts = ["a1", "a2"].map((attempt) => idOf({ "Idempotency-Key": "key", "X-Request-ID": attempt }));
    expect(attempts).toEqual(["key", "key"]);
  });

  it.each([
    ['"order-42"', "order-42"],
    [' "order-42" ', "order-42"],
    ["order-42", "order-42"],
  ])("the header Idempotency-Key: %s is the request id %s", (sent, id) => {
    expect(idOf({ "Idempotency-Key": sent })).toBe(id);
  });

  it.each([
    ['""', "INVALID_REQUEST_ID 400"],
    ["", "INVALID_REQUEST_ID 400"],
    ['"a', "INVALID_REQUEST_ID 422"],
    ['"a\\"b"', "INVALID_REQUEST_ID 422"],
    [`"${"a".repeat(129)}"`, "INVALID_REQUEST_ID 422"],
  ])("the header Idempotency-Key: %s is refused", (sent, fault) => {
    expect(faultOf({ "Idempotency-Key": sent })).toBe(fault);
  });
});

describe("the convention of Idempotency-Key", () => {
  it("Idempotency-Key alone asks for the original answer, whatever X-Request-ID a proxy adds", () => {
    const key = { "Idempotency-Key": "key" };
    expect(wantsReplay(header(key), {})).toBe(true);
    expect(wantsReplay(header({ ...key, "X-Request-ID": "attempt" }), { request_id: null })).toBe(true);
    expect(wantsReplay(header(key), { request_id: "body" })).toBe(false);
    expect(wantsReplay(header({ "X-Request-ID": "attempt" }), {})).toBe(false);
  });
});

describe("the echoed X-Request-ID", () => {
  it("the echoed X-Request-ID is the request's own, else its request id", () => {
    expect(echoedRequestId(header({ "X-Request-ID": "attempt" }), "key")).toBe("attempt");
    expect(echoedRequestId(header({}), "key")).toBe("key");
    expect(echoedRequestId(header({ "X-Request-ID": "in valid" }), undefined)).toBeUndefined();
  });
});
