import { beforeAll, describe, expect } from "vitest";
import { createTestApp } from "../support/contract.ts";
import type { Deps } from "../../src/deps.ts";
import { ERROR_CODES, ERROR_STATUS } from "../../src/domain/errors.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

/** Where a stranger may come in: monitoring, readers of the documentation, guests, and Meta's handshake with its own token. */
const PUBLIC = [
  "GET /live",
  "GET /ready",
  "GET /healthz",
  "GET /openapi.json",
  "POST /web/messages",
  "POST /app/messages",
  "GET /webhooks/whatsapp",
];

const UUID = "00000000-0000-4000-8000-00000000abcd";
/** A body that is right, for every route that takes one: what is refused is then refused for who is asking. */
const BODIES: Record<string, unknown> = {
  "POST /api/messages": { instance_id: INSTANCE.chat, request_id: "r", content: "Hello" },
  "POST /web/messages": { instance_id: INSTANCE.chat, request_id: "r", content: "Hello" },
  "POST /app/messages": { instance_id: INSTANCE.chat, request_id: "r", content: "Hello" },
  "POST /api/whatsapp/messages": {
    request_id: "r",
    message: { from: "+14155550123", to: "+15550001111", type: "text", text: { body: "Hello" } },
  },
  "POST /webhooks/whatsapp": { object: "whatsapp_business_account", entry: [] },
  "POST /api/v1/conversations/start": { instance_id: INSTANCE.chat, user: { device_id: "d" } },
  "POST /api/v1/conversations/{id}/messages": { role: "user", content: "Hello", timestamp: "2026-01-01T00:00:00Z" },
  "POST /api/broadcast": { instance_id: INSTANCE.chat, request_id: "r", content: "Hello", user_ids: [UUID] },
};

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const app = createTestApp(() => createTestDeps());
/** "POST /api/broadcasts/{id}/cancel", as the document writes it. */
const routes = [
  ...new Set(
    app.routes
      .filter(({ method }) => METHODS.includes(method))
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`),
  ),
];

type Operation = {
  summary?: string;
  operationId?: string;
  tags?: string[];
  security?: Record<string, string[]>[];
  responses: Record<string, { content?: Record<string, { schema: unknown }> }>;
};
type Document = { openapi: string; paths: Record<string, Record<string, Operation>>; components: Record<string, any> };

const it = databaseTest().extend(
  "ask",
  { scope: "file" },
  ({ database }) =>
    (route: string, headers: Record<string, string>) => {
      const deps = createTestDeps({ endpoint: database.endpoint, env: { AUTH_MODE: "required" } });
      const [method = "", path = ""] = route.replaceAll(/\{\w+\}/g, UUID).split(" ");
      const body = BODIES[route];
      // Whatever is asked, the conversation would have something to tell.
      const outcome = { kind: "in_progress", retryAfterMs: 1 } as const;
      const conversation: Deps["conversation"] = (address) => ({
        ...deps.conversation(address),
        requestStatus: async () => ({ kind: "status", brandId: ACME, outcome }),
      });
      return createTestApp(() => ({ ...deps, conversation })).request(path, {
        method,
        headers: { ...headers, ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    },
);
let document: Document;
beforeAll(async () => {
  document = (await (await app.request("/openapi.json")).json()) as Document;
});

const operationOf = (route: string): Operation | undefined => {
  const [method = "", path = ""] = route.split(" ");
  return document.paths[path]?.[method.toLowerCase()];
};

describe("/openapi.json", () => {
  it.each(routes)("the OpenAPI document describes %s with its responses", (route) => {
    const operation = operationOf(route);
    expect(operation?.summary).toEqual(expect.any(String));
    expect(Object.keys(operation?.responses ?? {})).toContainEqual(expect.stringMatching(/^2/));
  });

  it.each(routes)("the OpenAPI document states the credential of %s", (route) => {
    const security = operationOf(route)?.security ?? [{}];
    const isOpen = security.some((requirement) => Object.keys(requirement).length === 0);
    expect(isOpen).toBe(PUBLIC.includes(route));
    const schemes = Object.keys(document.components["securitySchemes"]);
    expect(
      security.flatMap((requirement) => Object.keys(requirement)).filter((name) => !schemes.includes(name)),
    ).toEqual([]);
  });

  it("the OpenAPI document knows user tokens, API keys and Meta's signature", () => {
    expect(document.components["securitySchemes"]).toMatchObject({
      userToken: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
      apiKey: { type: "http", scheme: "bearer" },
      metaSignature: { type: "apiKey", in: "header", name: "X-Hub-Signature-256" },
    });
  });

  it("the OpenAPI document names each operation once, in one of its tags, with a server", () => {
    const operations = Object.values(document.paths).flatMap((methods) => Object.values(methods));
    const ids = operations.map(({ operationId }) => operationId);
    expect(ids).toEqual([...new Set(ids)].filter((id) => /^[a-z][A-Za-z]+$/.test(id ?? "")));
    const tags = (document as any).tags.map(({ name }: { name: string }) => name);
    expect(operations.filter((each) => each.tags?.length !== 1 || !tags.includes(each.tags[0]))).toEqual([]);
    expect((document as any).servers).toEqual([{ url: "/", description: expect.any(String) }]);
  });

  it.each(routes)("the OpenAPI document states the headers of %s and of its responses", (route) => {
    const operation = operationOf(route) as any;
    const sent = operation.parameters.filter((each: any) => each.in === "header").map(({ name }: any) => name);
    expect(sent).toEqual(expect.arrayContaining(["X-Trace-ID", "traceparent"]));
    const isIdempotent = JSON.stringify(operation).includes('"MISSING_REQUEST_ID"');
    const hasKey = sent.includes("Idempotency-Key") && sent.includes("X-Request-ID");
    expect(hasKey || !isIdempotent).toBe(true);
    expect("Idempotency-Replayed" in (operation.responses["200"]?.headers ?? {})).toBe(
      hasKey && "200" in operation.responses,
    );
    const responses = Object.entries<any>(operation.responses);
    const always = ["X-Trace-ID", "X-Request-ID"];
    expect(responses.filter(([, { headers }]) => always.some((name) => !(name in headers)))).toEqual([]);
    const retried = responses.filter(([status]) => ["409", "429", "503"].includes(status));
    expect(retried.filter(([, { headers }]) => !("Retry-After" in headers))).toEqual([]);
  });

  it("the OpenAPI document has no pattern that needs a flag", () => {
    const patterns = [...JSON.stringify(document).matchAll(/"pattern":("(?:[^"\\]|\\.)*")/g)].map(
      ([, text = ""]) => JSON.parse(text) as string,
    );
    expect(patterns.length).toBeGreaterThan(0);
    expect(patterns.filter((pattern) => /\\[pPu]\{|^\/|\/[a-z]*$/.test(pattern) || !new RegExp(pattern))).toEqual([]);
  });

  it("the OpenAPI document describes existing routes only", () => {
    const described = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described.filter((route) => !routes.includes(route))).toEqual([]);
  });

  it("the OpenAPI document has no dangling reference", () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path = ""]) => path);
    const held = (path: string): unknown =>
      path.split("/").reduce<any>((at, name) => at?.[name.replaceAll("~1", "/")], document);
    expect(references.length).toBeGreaterThan(0);
    expect(references.filter((path) => held(path) === undefined)).toEqual([]);
  });

  it("the OpenAPI document has every error code, and no status outside the error table", () => {
    expect(document.components["schemas"].Error.properties.error.properties.code.enum.toSorted()).toEqual(
      ERROR_CODES.toSorted((a, b) => a.localeCompare(b)),
    );
    const statuses = Object.values(document.paths)
      .flatMap((operations) => Object.values(operations))
      .flatMap(({ responses }) => Object.keys(responses).map(Number))
      .filter((status) => status >= 400);
    const known: number[] = Object.values(ERROR_STATUS).flat();
    expect(statuses.filter((status) => !known.includes(status))).toEqual([]);
  });
});

describe("a stranger, where credentials are required", () => {
  const guarded = routes.filter((route) => !PUBLIC.includes(route));

  it.for(guarded)("a request without a credential to %s is refused in the envelope", async (route, { ask }) => {
    const response = await ask(route, {});
    const body = await response.json();
    expect({ status: response.status, body }).toEqual({
      status: 401,
      body: {
        success: false,
        error: { code: "UNAUTHORIZED", message: expect.any(String), details: expect.any(Object) },
        trace_id: response.headers.get("X-Trace-ID"),
      },
    });
  });

  it.for(routes.filter((route) => route in BODIES || guarded.includes(route)))(
    "a request with an unknown key to %s is refused",
    async (route, { ask }) => {
      const response = await ask(route, { Authorization: "Bearer parley_live_nobody" });
      expect([response.status, await response.json()]).toMatchObject([401, { error: { code: "UNAUTHORIZED" } }]);
    },
  );

  it("the credential sweep has a valid body for every route with one", () => {
    const bodies = routes.filter(
      (route) => operationOf(route) !== undefined && "requestBody" in (operationOf(route) ?? {}),
    );
    expect(bodies.filter((route) => !(route in BODIES))).toEqual([]);
  });
});
