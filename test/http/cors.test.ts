import { describe, expect } from "vitest";
import { ACME, ACME_KEY, GLOBEX, INSTANCE } from "../support/demo.ts";
import { gatewayTest } from "../support/fixtures.ts";
import { startGateway } from "../support/gateway.ts";
import { somebody } from "../support/people.ts";

const SHOP = "https://shop.acme.example";
const STRANGER = "https://elsewhere.example";
const EXPOSED = "X-Trace-ID, X-Request-ID, Retry-After, Idempotency-Replayed";

/** `gateway` is one of production, where Acme lists its shop and Globex any origin; `development` lists none. */
const it = gatewayTest()
  .override("env", {
    ENVIRONMENT: "staging",
    AUTH_MODE: "required",
    INSTANCE_CACHE_SECONDS: "0",
    ADDRESS_KEY: "an-address-key-of-more-than-32-characters",
    JWT_SECRET: "a-secret-of-this-test-with-more-than-32-characters",
    ORCHESTRATOR_URL: "http://127.0.0.1:9",
  })
  .extend("lists", { scope: "file" }, ({ gateway }) => async (acme: string[], globex: string[]) => {
    for (const [id, origins] of [
      [ACME, acme],
      [GLOBEX, globex],
    ] as const) {
      const set = "update brands set allowed_origins_json = $1::jsonb where id = $2";
      await gateway.database.query(set, [JSON.stringify(origins), id]);
    }
  })
  .extend("development", { scope: "file" }, async ({}, { onCleanup }) => {
    const development = await startGateway();
    onCleanup(() => development.close());
    return development;
  });

type Ask = { method?: string; headers?: Record<string, string>; body?: unknown };
const preflight = (origin: string, method = "POST"): Ask => ({
  method: "OPTIONS",
  headers: { Origin: origin, "Access-Control-Request-Method": method },
});
const message = (instance_id: string) => ({ instance_id, request_id: crypto.randomUUID(), content: "Hello" });

const ask = async (gateway: { request(path: string, init: RequestInit): Promise<any> }, path: string, asked: Ask) => {
  const { method = "GET", headers = {}, body } = asked;
  const reply = await gateway.request(path, {
    method,
    headers: { "Content-Type": "application/json", ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const of = (name: string) => reply.headers.get(`Access-Control-${name}`);
  return { status: reply.status, origin: of("Allow-Origin"), headers: reply.headers as Headers, of };
};

describe("a preflight", () => {
  it.beforeEach(({ lists }) => lists([SHOP], []));

  it.for([
    ["/web/messages", "POST"],
    ["/app/messages", "POST"],
    ["/api/v1/conversations/start", "GET, POST, DELETE"],
    ["/api/v1/conversations/00000000-0000-4000-8000-000000000001", "GET, DELETE"],
    ["/api/messages", "POST"],
  ] as const)(
    "a preflight of an origin that a brand lists is answered for %s",
    async ([path, methods], { gateway }) => {
      const { status, origin, headers, of } = await ask(gateway, path, preflight(SHOP));
      expect([status, origin, of("Allow-Methods")]).toEqual([204, SHOP, methods]);
      expect(of("Allow-Headers")).toMatch(/Authorization.*Content-Type.*Idempotency-Key/);
      expect([of("Expose-Headers"), of("Allow-Credentials"), headers.get("Vary")]).toEqual([EXPOSED, null, "Origin"]);
    },
  );

  it("a preflight of an origin that no brand lists names no origin", async ({ gateway }) => {
    const { status, origin, headers } = await ask(gateway, "/web/messages", preflight(STRANGER));
    expect([status, origin, headers.get("Vary")]).toEqual([204, null, "Origin"]);
  });

  it("a preflight of any origin is answered when a brand lists *, except where only an API key is taken", async ({
    gateway,
    lists,
  }) => {
    await lists([SHOP], ["*"]);
    expect((await ask(gateway, "/web/messages", preflight(STRANGER))).origin).toBe(STRANGER);
    expect((await ask(gateway, "/api/messages", preflight(STRANGER))).origin).toBeNull();
  });

  it("a preflight of any origin is answered in development, except where only an API key is taken", async ({
    development,
  }) => {
    expect((await ask(development, "/web/messages", preflight(STRANGER))).origin).toBe(STRANGER);
    expect((await ask(development, "/api/messages", preflight(STRANGER))).origin).toBeNull();
  });

  it("a preflight of a path that browsers don't call is a wrong method", async ({ gateway }) => {
    expect((await ask(gateway, "/webhooks/whatsapp", preflight(SHOP))).status).toBe(405);
    expect((await ask(gateway, "/web/nowhere", preflight(SHOP))).status).toBe(404);
  });

  it("an OPTIONS request without Access-Control-Request-Method is a wrong method", async ({ gateway }) => {
    const { status } = await ask(gateway, "/web/messages", { method: "OPTIONS", headers: { Origin: SHOP } });
    expect(status).toBe(405);
  });
});

describe("a response to a browser", () => {
  it.beforeEach(({ lists }) => lists([SHOP], ["https://globex.example"]));

  it("a response names the origin when the request's brand lists it", async ({ gateway }) => {
    const headers = { Origin: SHOP };
    const said = { method: "POST", headers, body: message(INSTANCE.chat) };
    const { origin, of, headers: sent } = await ask(gateway, "/web/messages", said);
    expect([origin, of("Expose-Headers"), of("Allow-Credentials")]).toEqual([SHOP, EXPOSED, null]);
    expect(sent.get("Vary")).toBe("Origin");
  });

  it("a response names no origin that only another brand lists", async ({ gateway }) => {
    const headers = { Origin: SHOP };
    const said = { method: "POST", headers, body: message(INSTANCE.globex) };
    const { status, origin } = await ask(gateway, "/web/messages", said);
    expect([status, origin]).toEqual([200, null]);
  });

  it("a refusal before the brand is known can be read by every listed origin", async ({ gateway }) => {
    const headers = { Origin: SHOP, Authorization: "Bearer nonsense" };
    const { status, origin } = await ask(gateway, "/api/v1/conversations", { headers });
    expect([status, origin]).toEqual([401, SHOP]);
    const stranger = await ask(gateway, "/api/v1/conversations", { headers: { ...headers, Origin: STRANGER } });
    expect(stranger.origin).toBeNull();
  });

  it("a response to an API key names only an origin that is listed itself", async ({ development }) => {
    const ann = await somebody(development);
    const list = (credential: string) =>
      ask(development, "/api/v1/conversations", {
        headers: { Origin: STRANGER, Authorization: `Bearer ${credential}` },
      });
    expect((await list(ann.token)).origin).toBe(STRANGER);
    expect((await list(ACME_KEY)).origin).toBeNull();
  });

  it("a request without an Origin has no CORS header and costs no look-up", async ({ gateway }) => {
    gateway.roundTrips();
    const { origin, headers } = await ask(gateway, "/api/v1/conversations", {});
    expect([origin, headers.get("Vary"), gateway.roundTrips()]).toEqual([null, null, 0]);
  });
});
