import { describe, expect } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import { gatewayTest } from "../support/fixtures.ts";

type Json = Record<string, any>;

const PERSON = "00000000-0000-4000-8000-0000000000aa";
const CONVERSATION = "00000000-0000-8000-b000-0000000000cc";

const IDENTIFIERS = { phone_e164: "+14155550123", email: "ann@example.com", device_id: "d1", auth_token: "t" };
const MESSAGE = {
  instance_id: INSTANCE.chat,
  request_id: "r1",
  content: "Hello",
  user: IDENTIFIERS,
  trace_id: "t1",
  metadata: { page: 7 },
  ...IDENTIFIERS,
};
const SAID = {
  id: "m1",
  role: "user",
  content: "Hello",
  timestamp: "2026-11-22T10:00:00Z",
  interrupted: false,
  user_id: "u1",
  metadata: { page: 7 },
};

/** For every route that takes a body, one with all that it may hold. */
const BODIES: Record<string, Json> = {
  "/api/messages": MESSAGE,
  "/web/messages": MESSAGE,
  "/app/messages": MESSAGE,
  "/api/whatsapp/messages": {
    request_id: "r1",
    message: { from: "14155550123", to: "15550001111", type: "text", text: { body: "Hello" } },
    metadata: { instance_id: INSTANCE.whatsapp },
    trace_id: "t1",
  },
  "/api/broadcast": {
    instance_id: INSTANCE.chat,
    request_id: "r1",
    content: "Hello",
    user_ids: [PERSON],
    trace_id: "t1",
    metadata: { page: 7 },
  },
  "/api/v1/conversations/start": {
    instance_id: INSTANCE.chat,
    user: IDENTIFIERS,
    user_id: PERSON,
    metadata: { page: 7 },
  },
  "/api/v1/conversations/{id}/messages": SAID,
};

/** A webhook is signed: what is in it is Meta's, and taken as it comes. */
const SIGNED = "/webhooks/whatsapp";

const it = gatewayTest()
  .extend("env", { scope: "file" }, { RATE_LIMIT_INSTANCE_PER_MINUTE: "0" })
  .extend(
    "post",
    { scope: "file" },
    ({ gateway }) =>
      (path: string, body: unknown) =>
        gateway.send("POST", at(path), body, ACME_KEY),
  )
  /** How a refusal names the field, or what else it was answered. */
  .extend("faultOf", { scope: "file" }, ({ post }) => async (path: string, body: unknown): Promise<string> => {
    const { status, body: reply } = await post(path, body);
    const code = reply.error?.code;
    if ((status === 400 || status === 422) && code === "INVALID_REQUEST_ID") return "request_id";
    if ((status === 400 || status === 422) && code === "VALIDATION_ERROR") {
      const { field } = reply.error.details.fields[0];
      // A message of a channel names its own.
      return field === "from" || field === "to" ? `message.${field}` : field;
    }
    return `${status} ${code}`;
  })
  /** Looks at what a route does with bad input: nobody may have been asked anything. */
  .extend("expectNobodyAsked", { scope: "file" }, ({ gateway }) => async (run: () => Promise<void>): Promise<void> => {
    const before = gateway.addresses();
    await run();
    expect([gateway.database.requests, gateway.addresses()]).toEqual([[], before]);
  });
it.beforeEach(({ gateway }) => gateway.database.forget());

const at = (path: string): string => path.replace("{id}", CONVERSATION);

/** A copy with another value at a path of names. */
function withValue(body: any, [name, ...rest]: readonly string[], value: unknown): any {
  if (name === undefined) return value;
  if (Array.isArray(body))
    return body.map((item, index) => (String(index) === name ? withValue(item, rest, value) : item));
  return { ...body, [name]: withValue(body[name], rest, value) };
}

const fieldsOf = (value: unknown, path: string[] = []): string[][] =>
  typeof value !== "object" || value === null || path.at(-1) === "metadata"
    ? [path]
    : [
        ...(path.length === 0 ? [] : [path]),
        ...Object.entries(value).flatMap(([name, item]) => fieldsOf(item, [...path, name])),
      ];

const TYPES: [string, unknown][] = [
  ["number", 7],
  ["boolean", true],
  ["string", "text"],
  ["list", ["text"]],
  ["object", { text: "text" }],
];
const typeOf = (value: unknown): string => (Array.isArray(value) ? "list" : typeof value);
const valueAt = (body: Json, path: readonly string[]): any => path.reduce<any>((value, name) => value[name], body);

const document: Json = createTestApp().getOpenAPI31Document({ openapi: "3.1.0", info: { title: "", version: "" } });
const resolve = (schema: Json): Json =>
  schema.$ref === undefined ? schema : document["components"].schemas[schema.$ref.split("/").at(-1)];
const requestSchema = (path: string): Json =>
  resolve(document["paths"][path].post.requestBody.content["application/json"].schema);

describe("this sweep", () => {
  it("the validation sweep covers every route with a body", () => {
    const taking = Object.entries<Json>(document["paths"]).flatMap(([path, methods]) =>
      Object.values<Json>(methods).some(({ requestBody }) => requestBody !== undefined) ? [path] : [],
    );
    expect(taking.toSorted()).toEqual([...Object.keys(BODIES), SIGNED].toSorted());
  });

  it.each(Object.keys(BODIES))("the validation sweep covers every field of %s", (path) => {
    const schema = requestSchema(path);
    const { properties } = schema["anyOf"] ? resolve(schema["anyOf"][0]) : schema;
    expect(Object.keys(properties).toSorted()).toEqual(Object.keys(BODIES[path] ?? {}).toSorted());
  });
});

/** A message of a channel is read as other companies write: there a number is text. */
const READ_AS_TEXT = ["message.text.body = number: 200 undefined"];

describe.each(Object.entries(BODIES))("%s", (path, body) => {
  it("no field of another type is accepted [G4.5.1]", async ({ faultOf }) => {
    const seen: string[] = [];
    for (const field of fieldsOf(body)) {
      for (const [type, wrong] of TYPES) {
        if (type === typeOf(valueAt(body, field))) continue;
        const fault = await faultOf(path, withValue(body, field, wrong));
        // The field, or what it is a part of.
        const isNamed = fault !== "" && `${field.join(".")}.`.startsWith(`${fault}.`);
        if (!isNamed) seen.push(`${field.join(".")} = ${type}: ${fault}`);
      }
    }
    expect(seen.filter((fault) => !READ_AS_TEXT.includes(fault))).toEqual([]);
  });

  it("a body that is no object, or an empty one, is refused without a query [G4.5.1]", ({ expectNobodyAsked, post }) =>
    expectNobodyAsked(async () => {
      for (const nothing of [null, 7, true, "text", [], [7], {}]) {
        expect((await post(path, nothing)).body.error.code).toBe("VALIDATION_ERROR");
      }
    }));
});

const MESSAGES = "/api/messages";
const WHATSAPP = "/api/whatsapp/messages";
const BROADCAST = "/api/broadcast";
const START = "/api/v1/conversations/start";
const TRANSCRIPT = "/api/v1/conversations/{id}/messages";

const long = (length: number): string => "x".repeat(length);
const emoji = (length: number): string => "👋".repeat(length);
const email = (length: number): string => `${"a".repeat(60)}@${"b".repeat(60)}.${"c".repeat(length - 122)}`;
/** JSON of just so many bytes. */
const metadata = (bytes: number) => ({ text: long(bytes - '{"text":""}'.length) });
const people = (count: number) => Array.from({ length: count }, () => crypto.randomUUID());
const digits = (count: number) => "2".repeat(count);

/** A field, the longest value it takes, and the shortest it doesn't. */
const LIMITS: [path: string, field: string, longest: unknown, tooLong: unknown][] = [
  [MESSAGES, "content", emoji(10_000), emoji(10_001)],
  [MESSAGES, "request_id", long(128), long(129)],
  [MESSAGES, "metadata", metadata(65_536), metadata(65_537)],
  [MESSAGES, "phone_e164", `+${digits(15)}`, `+${digits(16)}`],
  [MESSAGES, "email", email(128), email(129)],
  [MESSAGES, "device_id", long(128), long(129)],
  [MESSAGES, "auth_token", long(8_192), long(8_193)],
  [MESSAGES, "user.phone_e164", `+${digits(15)}`, `+${digits(16)}`],
  [MESSAGES, "user.email", email(128), email(129)],
  [MESSAGES, "user.device_id", long(128), long(129)],
  [MESSAGES, "user.auth_token", long(8_192), long(8_193)],
  [WHATSAPP, "request_id", long(128), long(129)],
  [WHATSAPP, "message.from", digits(15), digits(16)],
  [WHATSAPP, "message.to", digits(15), digits(16)],
  [BROADCAST, "content", emoji(10_000), emoji(10_001)],
  [BROADCAST, "request_id", long(128), long(129)],
  [BROADCAST, "metadata", metadata(65_536), metadata(65_537)],
  [BROADCAST, "user_ids", people(100), people(101)],
  [START, "user.device_id", long(128), long(129)],
  [START, "user.email", email(128), email(129)],
  [TRANSCRIPT, "id", long(128), long(129)],
  [TRANSCRIPT, "user_id", long(256), long(257)],
  [TRANSCRIPT, "content", emoji(10_000), emoji(10_001)],
  [TRANSCRIPT, "metadata", metadata(65_536), metadata(65_537)],
];

it.for(LIMITS)(
  "%s accepts a %s up to its limit and no longer [G4.5.2]",
  async ([path, field, longest, tooLong], { faultOf }) => {
    const [taken, refused] = await Promise.all(
      [longest, tooLong].map((value) => faultOf(path, withValue(BODIES[path], field.split("."), value))),
    );
    // What is long enough is judged by what it says: some of it names nobody.
    expect([taken, refused]).toEqual([expect.stringMatching(/^(200|201|401|404|409) /), field]);
  },
);

it("a transcript has at most 100 messages [G4.5.2]", async ({ post }) => {
  const said = (count: number) => Array.from({ length: count }, (_, n) => ({ ...SAID, id: `m${n}` }));
  expect((await post(TRANSCRIPT, said(100))).status).toBe(404);
  const { status, body } = await post(TRANSCRIPT, { messages: said(101) });
  expect([status, body.error.details.fields[0].field]).toEqual([422, "messages"]);
});

const NO_UUIDS = ["nope", `${PERSON}0`, PERSON.slice(1), `{${PERSON}}`, PERSON.replaceAll("-", "")];
const NO_PHONES = [
  "14155550123",
  "+",
  "+0123456",
  "+1415555012a",
  "++14155550123",
  "+1,4155550123",
  "+１４１５５５５０１２３",
];
const NO_EMAILS = ["ann", "@example.com", "ann@", "ann@example", "a b@example.com", "ann@@example.com"];
const NO_DEVICES = ["a\u0000b", "a\nb", "a\u200Bb", "a\u202Eb"];
const NO_REQUEST_IDS = ["", "  ", "a b", "a/b", "é", "a\nb", "<r>", "r1\u0000"];
const NO_NUMBERS = ["", "1", "+", "nobody", "1415555012a", "+0123456"];
const NO_TIMES = ["", "now", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-11-22T25:00:00Z", "22.11.2026"];

/** A field, and what is not of its form. */
const FORMS: [path: string, field: string, malformed: string[]][] = [
  [MESSAGES, "instance_id", NO_UUIDS],
  [MESSAGES, "request_id", NO_REQUEST_IDS],
  [MESSAGES, "phone_e164", NO_PHONES],
  [MESSAGES, "email", NO_EMAILS],
  [MESSAGES, "device_id", NO_DEVICES],
  [MESSAGES, "user.phone_e164", NO_PHONES],
  [MESSAGES, "user.email", NO_EMAILS],
  [MESSAGES, "user.device_id", NO_DEVICES],
  [WHATSAPP, "request_id", NO_REQUEST_IDS],
  [WHATSAPP, "metadata.instance_id", NO_UUIDS],
  [WHATSAPP, "message.from", NO_NUMBERS],
  [WHATSAPP, "message.to", NO_NUMBERS],
  [BROADCAST, "instance_id", NO_UUIDS],
  [BROADCAST, "request_id", NO_REQUEST_IDS],
  [BROADCAST, "user_ids.0", NO_UUIDS],
  [START, "instance_id", NO_UUIDS],
  [START, "user_id", NO_UUIDS],
  [START, "user.phone_e164", NO_PHONES],
  [START, "user.email", NO_EMAILS],
  [TRANSCRIPT, "role", ["", "system", "User", "bot"]],
  [TRANSCRIPT, "timestamp", NO_TIMES],
];

it.for(FORMS)(
  "%s refuses a malformed %s without a query [G4.5.3]",
  ([path, field, malformed], { expectNobodyAsked, faultOf }) =>
    expectNobodyAsked(async () => {
      for (const value of malformed) {
        const fault = await faultOf(path, withValue(BODIES[path], field.split("."), value));
        expect([value, fault]).toEqual([value, field]);
      }
    }),
);

const NO_COUNTS = ["0", "-1", "1.5", "ten", "1e999", "NaN"];
const QUERIES: [path: string, name: string, malformed: string[]][] = [
  ["/api/v1/conversations", "limit", NO_COUNTS],
  ["/api/v1/conversations", "page", [...NO_COUNTS, "1000001"]],
  ["/api/v1/conversations", "before", ["x", "W10", btoa("[1,2]"), btoa('["1","2"]')]],
  ["/api/v1/conversations", "user_id", NO_UUIDS],
  [TRANSCRIPT, "limit", NO_COUNTS],
  [TRANSCRIPT, "page", [...NO_COUNTS, "1000001"]],
  [TRANSCRIPT, "before", ["x", "W10", btoa('[1,"a"]'), btoa("[1,-1]")]],
  ["/api/broadcasts/{id}", "limit", NO_COUNTS],
  ["/api/broadcasts/{id}", "after", NO_UUIDS],
  ["/api/broadcasts/{id}", "state", ["done", "PENDING"]],
];

it.for(QUERIES)(
  "%s refuses a malformed %s in its query string [G4.5.3]",
  async ([path, name, malformed], { gateway }) => {
    for (const value of malformed) {
      const { status, body } = await gateway.get(`${at(path)}?${name}=${encodeURIComponent(value)}`, ACME_KEY);
      expect([value, status, body.error?.details.fields?.[0].field]).toEqual([value, 422, name]);
    }
  },
);

it("a path with a malformed id is refused or not found [G4.5.3]", async ({ gateway }) => {
  const named = Object.entries<Json>(document["paths"]).flatMap(([path, methods]) =>
    path.includes("{") ? Object.keys(methods).map((method) => [method.toUpperCase(), path] as const) : [],
  );
  expect(named.length).toBeGreaterThan(6);
  for (const [method, path] of named) {
    for (const id of ["nope", `${PERSON}0`, "%00", "%27%20or%20true", long(5_000)]) {
      const body = method === "POST" && path === TRANSCRIPT ? SAID : undefined;
      const { status, body: reply } = await gateway.send(method, path.replaceAll(/\{\w+\}/g, id), body, ACME_KEY);
      expect([method, path, id, status, reply.error?.code]).toEqual([method, path, id, 404, "RESOURCE_NOT_FOUND"]);
    }
  }
});
