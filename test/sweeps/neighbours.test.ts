import { describe, expect } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { ACME, ACME_KEY, GLOBEX, GLOBEX_KEY, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { Gateway } from "../support/gateway.ts";
import { somebody } from "../support/people.ts";
import type { Person } from "../support/people.ts";
import { gatewayTest } from "../support/fixtures.ts";

/** What is no brand's or is guarded by a signature instead of a credential. */
const WITHOUT_CREDENTIAL = [
  "GET /live",
  "GET /ready",
  "GET /healthz",
  "GET /openapi.json",
  "GET /webhooks/whatsapp",
  "POST /webhooks/whatsapp",
];

const it = gatewayTest()
  .extend("env", { scope: "file" }, { AUTH_MODE: "required" })
  /** Every row of Acme's, in whatever table. */
  .extend("acmesRows", { scope: "file" }, ({ gateway }) => async (): Promise<string> => {
    await gateway.flush();
    const tables = await gateway.database.query(
      "select table_name from information_schema.columns where column_name = 'brand_id' and table_schema = 'public' order by 1",
    );
    const rows: string[] = [];
    for (const { table_name: table } of tables) {
      const [row] = await gateway.database.query(
        `select coalesce(string_agg(t::text, '|' order by t::text), '') as rows from ${table} t where brand_id = $1`,
        [ACME],
      );
      // When a key was last used is told by using it.
      if (table !== "api_keys") rows.push(`${table}: ${row?.["rows"]}`);
    }
    return rows.join("\n");
  });
/** Of Acme, and what is theirs. */
let ann: Person;
let bob: Person;
/** Of Globex. */
let eve: Person;
let conversation: string;
let message: string;
let broadcast: string;

it.beforeAll(async ({ gateway }) => {
  [ann, bob] = [await somebody(gateway), await somebody(gateway)];
  eve = await somebody(gateway, { brandId: GLOBEX, instanceId: INSTANCE.globex });
  const said = await ann.say("My secret is blue");
  [conversation, message] = [said.session_id, said.message_id];
  const sent = await gateway.send(
    "POST",
    "/api/broadcast",
    { instance_id: INSTANCE.chat, request_id: "b1", content: "Our secret is green", user_ids: [ann.userId] },
    ACME_KEY,
  );
  broadcast = sent.body.data.broadcast_id;
});

type Try = { path: () => string; body?: () => unknown; eves: number; bobs: number; ofGlobex: number };
/** What a neighbour's person, another person of the brand and a neighbour's server are answered when they ask for Acme's or Ann's. */
const instance = { instance_id: INSTANCE.chat };
const chat = (path: string, eves: number, bobs: number): Try => ({
  path: () => path,
  body: () => ({ ...instance, request_id: crypto.randomUUID(), content: "Hello" }),
  eves,
  bobs,
  ofGlobex: 404,
});
const ofConversation = (rest = "", body?: unknown): Try => ({
  path: () => `/api/v1/conversations/${conversation}${rest.replace("{message_id}", message)}`,
  ...(body === undefined ? {} : { body: () => body }),
  eves: 404,
  bobs: 403,
  ofGlobex: 404,
});
const ofBroadcast = (rest = ""): Try => ({
  path: () => `/api/broadcasts/${broadcast}${rest}`,
  eves: 403,
  bobs: 403,
  ofGlobex: 404,
});

const TRIES: Record<string, Try> = {
  "POST /api/messages": chat("/api/messages", 403, 403),
  // Everybody of the brand may speak to the brand: in a conversation of their own.
  "POST /web/messages": chat("/web/messages", 401, 200),
  "POST /app/messages": chat("/app/messages", 401, 200),
  "POST /api/whatsapp/messages": {
    path: () => "/api/whatsapp/messages",
    body: () => ({
      request_id: crypto.randomUUID(),
      message: { from: "+14155550123", to: "+15550001111", type: "text", text: { body: "Hello" } },
    }),
    eves: 403,
    bobs: 403,
    ofGlobex: 404,
  },
  "POST /api/broadcast": {
    path: () => "/api/broadcast",
    body: () => ({ ...instance, request_id: "b2", content: "Hello", user_ids: [ann.userId] }),
    eves: 401,
    bobs: 403,
    ofGlobex: 404,
  },
  "GET /api/broadcasts/{id}": ofBroadcast(),
  "POST /api/broadcasts/{id}/cancel": ofBroadcast("/cancel"),
  "POST /api/broadcasts/{id}/retry": ofBroadcast("/retry"),
  "GET /api/v1/conversations": {
    path: () => `/api/v1/conversations?user_id=${ann.userId}`,
    eves: 403,
    bobs: 403,
    ofGlobex: 200,
  },
  "POST /api/v1/conversations/start": {
    path: () => "/api/v1/conversations/start",
    body: () => ({ ...instance, user_id: ann.userId }),
    eves: 401,
    bobs: 403,
    ofGlobex: 404,
  },
  "GET /api/v1/conversations/{id}": ofConversation(),
  "GET /api/v1/conversations/{id}/messages": ofConversation("/messages"),
  "GET /api/v1/conversations/{id}/messages/{message_id}": ofConversation("/messages/{message_id}"),
  "POST /api/v1/conversations/{id}/messages": ofConversation("/messages", { role: "user", content: "It was me" }),
  "GET /api/v1/conversations/{id}/usage": ofConversation("/usage"),
  "GET /api/v1/conversations/{id}/usage/records": ofConversation("/usage/records"),
  "POST /api/v1/conversations/{id}/expire": ofConversation("/expire"),
  "DELETE /api/v1/conversations/{id}": ofConversation(),
};

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const routes = [
  ...new Set(
    createTestApp(() => createTestDeps())
      .routes.filter(({ method }) => METHODS.includes(method))
      .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}")}`),
  ),
].filter((route) => !WITHOUT_CREDENTIAL.includes(route));

it("the isolation sweep covers every route", () => {
  expect(Object.keys(TRIES).toSorted()).toEqual(routes.toSorted());
});

describe.each([
  ["before Postgres has it", (_gateway: Gateway) => Promise.resolve()],
  [
    "when only Postgres has it",
    async (gateway: Gateway) => {
      await gateway.flush();
      gateway.evictAll({ emptied: true });
    },
  ],
])("what is Acme's or Ann's, %s,", (_when, settle) => {
  it.beforeEach(({ gateway }) => settle(gateway));

  const neighbours: [string, (tried: Try) => [credential: string, status: number]][] = [
    ["a neighbour's server", (tried) => [GLOBEX_KEY, tried.ofGlobex]],
    ["a neighbour's person", (tried) => [eve.token, tried.eves]],
    ["another person", (tried) => [bob.token, tried.bobs]],
    ["nobody, with a token that nobody signed", () => [`${ann.token.slice(0, -4)}AAAA`, 401]],
  ];
  it.for(
    neighbours.flatMap(([who, expected]) =>
      Object.entries(TRIES).map(([route, tried]) => [who, route, tried, expected] as const),
    ),
  )(
    "a resource of Acme or Ann is neither read nor changed by %s: %s",
    async ([, route, tried, expected], { acmesRows, gateway }) => {
      const [credential, status] = expected(tried);
      const before = await acmesRows();
      const [method = ""] = route.split(" ");
      const reply = await gateway.send(method, tried.path(), tried.body?.(), credential);
      expect([reply.status, reply.text]).toEqual([status, expect.not.stringMatching(/secret/)]);
      // Who is let through sees and changes only what is their own.
      const isLetThrough = status === 200;
      expect(isLetThrough ? reply.text.includes(conversation) : await acmesRows()).toBe(isLetThrough ? false : before);
    },
  );
});
