import { describe, expect, it } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { createTestDeps } from "../support/deps.ts";

const app = createTestApp(() => createTestDeps());
const post = (headers: Record<string, string>) =>
  app.request("/api/messages", {
    method: "POST",
    body: "{}",
    headers: { "Content-Type": "application/json", ...headers },
  });

describe("a body with a content encoding", () => {
  it.each(["gzip", "br", "deflate", "identity", "zstd, gzip"])(
    "a body with Content-Encoding: %s is refused",
    async (encoding) => {
      const response = await post({ "Content-Encoding": encoding });
      expect([response.status, await response.json()]).toMatchObject([
        415,
        { error: { code: "UNSUPPORTED_MEDIA_TYPE" } },
      ]);
    },
  );

  it("a body with an empty Content-Encoding is read", async () => {
    expect((await post({ "Content-Encoding": "" })).status).toBe(422);
  });
});

describe("a trailing slash", () => {
  it.each(["/live/", "/openapi.json/"])("a path with a trailing slash is the path without it: %s", async (path) => {
    expect((await app.request(path)).status).toBe(200);
  });

  it("a path with a trailing slash refuses a wrong method", async () => {
    const response = await app.request("/live/", { method: "POST" });
    expect([response.status, response.headers.get("Allow")]).toEqual([405, "GET"]);
  });
});

describe("the header Cache-Control", () => {
  it.each([
    ["/live", "GET"],
    ["/api/v1/conversations", "GET"],
    ["/api/messages", "POST"],
    ["/nowhere", "GET"],
  ])("the answer of %s is not stored by caches", async (path, method) => {
    expect((await app.request(path, { method })).headers.get("Cache-Control")).toBe("no-store");
  });

  it("the OpenAPI document may be stored by caches", async () => {
    expect((await app.request("/openapi.json")).headers.get("Cache-Control")).toBe("public, max-age=300");
  });
});

describe("the OpenAPI document", () => {
  it("the OpenAPI document is built once", async () => {
    const once = createTestApp(() => createTestDeps());
    let built = 0;
    const { getOpenAPI31Document } = once;
    once.getOpenAPI31Document = (...args) => {
      built += 1;
      return getOpenAPI31Document(...args);
    };
    const [first, second] = [await once.request("/openapi.json"), await once.request("/openapi.json")];
    expect(await second.text()).toBe(await first.text());
    expect(built).toBe(1);
  });
});
