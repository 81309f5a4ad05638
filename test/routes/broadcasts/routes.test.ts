import { describe, expect } from "vitest";
import { newTurnId } from "../../../src/domain/ids.ts";
import { deliverBroadcast } from "../../../src/flows/deliver-broadcast.ts";
import { guestToken } from "../../../src/services/user-token.ts";
import { createTestApp } from "../../support/contract.ts";
import { createAudience } from "../../support/audience.ts";
import type { Audience } from "../../support/audience.ts";
import type { TestDatabase } from "../../support/database.ts";
import { ACME, ACME_KEY, GLOBEX_KEY, INSTANCE } from "../../support/demo.ts";
import { databaseTest } from "../../support/fixtures.ts";

const NOBODY = "00000000-0000-4000-8000-0000000fffff";

/** Nothing listens there. */
const AWAY = "http://127.0.0.1:1/sql";

const it = databaseTest();
let deps: Audience;
let people: string[];

it.beforeEach(async ({ database }) => {
  await database.query("truncate users, broadcasts cascade");
  const rows = await database.query(
    "insert into users (brand_id, tier) select $1::uuid, 'standard' from generate_series(1, 5) returning id",
    [ACME],
  );
  people = rows.map(({ id }) => id ?? "");
  deps = createAudience(database.endpoint);
});

type Call = { key?: string | null; headers?: Record<string, string>; on?: Audience };

/** Calls the app as a client does; as Acme's server unless told otherwise. */
async function call(method: string, path: string, body?: unknown, { key = ACME_KEY, headers, on = deps }: Call = {}) {
  const response = await createTestApp(() => on).request(path, {
    method,
    headers: {
      ...(body === undefined ? {} : { "Content-Type": "application/json" }),
      ...(key === null ? {} : { Authorization: `Bearer ${key}` }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, body: JSON.parse(text) };
}

const request = (changes: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: "spring-sale",
  content: "We are open again",
  user_ids: people,
  ...changes,
});

const send = (changes: Record<string, unknown> = {}, options?: Call) =>
  call("POST", "/api/broadcast", request(changes), options);

/** The token of one of the people. */
const tokenOf = (userId = "") => guestToken(deps.config, { userId, brandId: ACME, turnId: newTurnId(Date.now()) });

/** A broadcast to everybody, and its path. */
const sent = async (changes: Record<string, unknown> = {}): Promise<string> =>
  `/api/broadcasts/${(await send(changes)).body.data.broadcast_id}`;

describe("POST /api/broadcast", () => {
  it("POST /api/broadcast answers with a summary [A4.3.1]", async () => {
    const { status, body } = await send({ user_ids: [...people, NOBODY] });
    expect(status).toBe(200);
    expect(body).toMatchObject({ success: true, data: { summary: { total: 6, successful: 5, failed: 1 } } });
  });

  it("POST /api/broadcast answers for each user with the message id or the error [A4.3.2]", async () => {
    const { body } = await send({ user_ids: [people[0], NOBODY] });
    expect(body.data.results).toEqual([
      { user_id: people[0], success: true, message_id: expect.stringMatching(/^[0-9a-f-]{36}$/) },
      { user_id: NOBODY, success: false, error: { code: "RESOURCE_NOT_FOUND", message: "No such user" } },
    ]);
  });

  it("POST /api/broadcast writes and enqueues the broadcast [B1.3.4]", async ({ database }) => {
    const { body } = await send({ metadata: { campaign: "spring" } });
    expect(await database.query("select id, content, request_id, metadata_json from broadcasts")).toEqual([
      {
        id: body.data.broadcast_id,
        content: "We are open again",
        request_id: "spring-sale",
        metadata_json: '{"campaign": "spring"}',
      },
    ]);
    expect(deps.rung).toEqual([body.data.broadcast_id]);
  });

  it.each([
    ["without user_ids [A4.1.1]", { user_ids: undefined }, "user_ids"],
    ["with nobody in user_ids [A4.1.2]", { user_ids: [] }, "user_ids"],
    ["with 101 people [A4.1.3]", { user_ids: Array.from({ length: 101 }, () => crypto.randomUUID()) }, "user_ids"],
    ["without content [A4.1.4]", { content: undefined }, "content"],
    ["with nothing but blanks to say", { content: " \n " }, "content"],
    ["with more to say than a message may", { content: "x".repeat(10_001) }, "content"],
    ["with somebody who is no id", { user_ids: ["ann"] }, "user_ids.0"],
    ["with user_ids that are no list", { user_ids: "all" }, "user_ids"],
    ["without an instance", { instance_id: undefined }, "instance_id"],
    ["with metadata that are no object", { metadata: [] }, "metadata"],
  ])("POST /api/broadcast refuses a request %s", async (_what, changes, field) => {
    const { status, body } = await send(changes);
    expect([status, body.error.code]).toEqual([400, "VALIDATION_ERROR"]);
    expect(body.error.details.fields.map((fault: any) => fault.field)).toEqual([field]);
  });

  it("POST /api/broadcast accepts a hundred users and ten thousand characters", async () => {
    const crowd = Array.from({ length: 100 }, () => crypto.randomUUID());
    const { status, body } = await send({ user_ids: crowd, content: "x".repeat(10_000) });
    expect([status, body.data.summary]).toEqual([200, { total: 100, successful: 0, failed: 100 }]);
  });

  it.each([
    ["none", undefined, 400, "MISSING_REQUEST_ID"],
    ["an empty one", "", 400, "INVALID_REQUEST_ID"],
    ["one that is no string", 7, 400, "INVALID_REQUEST_ID"],
    ["one that is too long", "x".repeat(129), 422, "INVALID_REQUEST_ID"],
  ])("POST /api/broadcast requires a request id and refuses %s", async (_what, request_id, status, code) => {
    const refused = await send({ request_id });
    expect([refused.status, refused.body.error.code]).toEqual([status, code]);
  });

  it.each([
    ["unknown", INSTANCE.unknown],
    ["inactive", INSTANCE.inactive],
    ["another brand's", INSTANCE.globex],
  ])("POST /api/broadcast does not find an instance that is %s", async (_what, instance_id) => {
    const { status, body } = await send({ instance_id });
    expect([status, body.error.details]).toEqual([404, { resource_type: "instance", resource_id: instance_id }]);
    expect(deps.timers.started).toEqual([]);
  });

  it("POST /api/broadcast answers a repeated request with 409 and the first answer", async () => {
    const first = await send();
    const again = await send();
    expect(again.status).toBe(409);
    expect(again.body.error).toMatchObject({
      code: "DUPLICATE_REQUEST",
      details: { request_id: "spring-sale", state: "completed", retry_after_ms: 0, cached_response: first.body.data },
    });
  });

  it("POST /api/broadcast answers a changed request with 409 without the first answer", async () => {
    await send();
    const { status, body } = await send({ content: "Closed" });
    expect([status, body.error.details]).toEqual([409, { request_id: "spring-sale", state: "payload_mismatch" }]);
  });

  it("POST /api/broadcast replays an Idempotency-Key byte for byte, and refuses another body with 422", async () => {
    const options = { headers: { "Idempotency-Key": "key-1" } };
    const first = await send({ request_id: undefined }, options);
    const again = await send({ request_id: undefined }, options);
    expect([again.status, again.headers.get("Idempotency-Replayed"), again.text]).toEqual([200, "true", first.text]);
    expect(first.headers.get("Idempotency-Replayed")).toBeNull();
    const other = await send({ request_id: undefined, content: "Closed" }, options);
    expect([other.status, other.body.error.code]).toEqual([422, "VALIDATION_ERROR"]);
  });
});

describe("GET /api/broadcasts/{id}", () => {
  it("GET /api/broadcasts/{id} counts its recipients by state", async ({ database }) => {
    const path = await sent();
    expect((await call("GET", path)).body.data).toMatchObject({
      state: "sending",
      total: 5,
      counts: { pending: 5, claimed: 0, sent: 0, failed: 0, cancelled: 0 },
      cancelled_at: null,
    });
    deps.behave(({ userId }) => {
      if (userId === people[0]) throw new Error("away");
    });
    await deliverBroadcast(deps, path.slice(-36));
    expect((await call("GET", path)).body.data).toMatchObject({ state: "sending", counts: { pending: 1, sent: 4 } });
    await database.query("update broadcast_recipients set state = 'sent'");
    expect((await call("GET", path)).body.data).toMatchObject({ state: "completed", counts: { pending: 0, sent: 5 } });
  });

  it("GET /api/broadcasts/{id} pages through its recipients, each once", async () => {
    const path = await sent();
    const pages: any[] = [];
    for (let cursor: string | null = ""; cursor !== null; cursor = pages.at(-1).pagination.next_cursor) {
      const after: string = cursor === "" ? "" : `&after=${cursor}`;
      pages.push((await call("GET", `${path}?limit=2${after}`)).body.data);
    }
    expect(pages.map(({ recipients }) => recipients.length)).toEqual([2, 2, 1]);
    expect(pages.map(({ pagination }) => pagination.has_more)).toEqual([true, true, false]);
    expect(pages.flatMap(({ recipients }) => recipients.map((one: any) => one.user_id))).toEqual(people.toSorted());
  });

  it("GET /api/broadcasts/{id} filters by state and shows errors", async ({ database }) => {
    const path = await sent();
    await database.query(
      `update broadcast_recipients set state = 'failed', attempts = 5, error_code = 'SERVICE_UNAVAILABLE',
       error_message = 'away' where user_id = $1`,
      [people[3] ?? ""],
    );
    const { recipients, total } = (await call("GET", `${path}?state=failed`)).body.data;
    expect(total).toBe(5);
    expect(recipients).toEqual([
      {
        user_id: people[3],
        message_id: expect.any(String),
        state: "failed",
        attempts: 5,
        error: { code: "SERVICE_UNAVAILABLE", message: "away" },
        delivery: null,
      },
    ]);
  });

  it.each(["limit=0", "limit=two", "after=ann", "state=lost"])(
    "GET /api/broadcasts/{id} refuses ?%s",
    async (search) => {
      const { status, body } = await call("GET", `${await sent()}?${search}`);
      expect([status, body.error.code]).toEqual([422, "VALIDATION_ERROR"]);
    },
  );
});

describe("POST /api/broadcasts/{id}/cancel and /retry", () => {
  it("POST /api/broadcasts/{id}/cancel cancels every unclaimed recipient", async () => {
    const path = await sent();
    const { status, body } = await call("POST", `${path}/cancel`);
    expect(status).toBe(200);
    expect(body.data).toMatchObject({
      state: "cancelled",
      cancelled_at: expect.stringMatching(/^2\d{3}-.*Z$/),
      total: 5,
      counts: { pending: 0, cancelled: 5 },
    });
  });

  it("POST /api/broadcasts/{id}/retry sends to the failed recipients again", async ({ database }) => {
    const path = await sent();
    await database.query("update broadcast_recipients set state = 'failed' where user_id = $1", [people[1] ?? ""]);
    const { status, body } = await call("POST", `${path}/retry`);
    expect([status, body.data.counts]).toEqual([200, expect.objectContaining({ pending: 5, failed: 0 })]);
  });

  it("POST /api/broadcasts/{id}/retry does not send a cancelled broadcast", async () => {
    const path = await sent();
    await call("POST", `${path}/cancel`);
    const { status, body } = await call("POST", `${path}/retry`);
    expect([status, body.error.code]).toEqual([400, "VALIDATION_ERROR"]);
  });
});

describe.each([
  ["GET", ""],
  ["POST", "/cancel"],
  ["POST", "/retry"],
])("%s /api/broadcasts/{id}%s", (method, verb) => {
  /** What somebody without a right to it is told, and that nothing came of it. */
  async function refused(database: TestDatabase, options: Call, id?: string) {
    const path = await sent();
    await database.query("update broadcast_recipients set state = 'failed' where user_id = $1", [people[1] ?? ""]);
    const before = await database.query("select state, cancelled_at from broadcast_recipients, broadcasts");
    const { status, body } = await call(method, `${id ?? path}${verb}`, undefined, options);
    expect(await database.query("select state, cancelled_at from broadcast_recipients, broadcasts")).toEqual(before);
    return [status, body.error.code];
  }

  it("another brand's broadcast is not found", async ({ database }) => {
    expect(await refused(database, { key: GLOBEX_KEY })).toEqual([404, "RESOURCE_NOT_FOUND"]);
  });

  it.for([NOBODY, "none"])("the broadcast /api/broadcasts/%s is not found", async (id, { database }) => {
    expect(await refused(database, {}, `/api/broadcasts/${id}`)).toEqual([404, "RESOURCE_NOT_FOUND"]);
  });

  it("a user may not reach a broadcast", async ({ database }) => {
    expect(await refused(database, { key: await tokenOf(people[0]) })).toEqual([403, "FORBIDDEN"]);
  });

  it("a broadcast requires a key where keys are required", async ({ database }) => {
    const on = { ...deps, config: { ...deps.config, authMode: "required" as const } };
    expect(await refused(database, { key: null, on })).toEqual([401, "UNAUTHORIZED"]);
  });
});

describe("where credentials are required", () => {
  const strict = () => ({ ...deps, config: { ...deps.config, authMode: "required" as const } });

  it("POST /api/broadcast accepts a brand's key where credentials are required", async ({ database }) => {
    const stranger = await send({}, { key: null, on: strict() });
    expect([stranger.status, stranger.body.error.code]).toEqual([401, "UNAUTHORIZED"]);
    expect(await database.query("select id from broadcasts")).toEqual([]);
    expect((await send({}, { on: strict() })).status).toBe(200);
  });

  it("POST /api/broadcast refuses a user's token", async () => {
    const { status, body } = await send({}, { key: await tokenOf(people[0]), on: strict() });
    expect([status, body.error.code]).toEqual([403, "FORBIDDEN"]);
  });

  it("POST /api/broadcast refuses a key with other scopes", async ({ database }) => {
    await database.query(`update api_keys set scopes_json = '["conversations:read"]' where brand_id = $1`, [ACME]);
    const { status, body } = await send({}, { on: strict() });
    await database.query("update api_keys set scopes_json = '[]' where brand_id = $1", [ACME]);
    expect([status, body.error.code]).toEqual([403, "FORBIDDEN"]);
  });
});

it("a development machine needs no key for a broadcast", async () => {
  const { status, body } = await send({}, { key: null });
  expect(status).toBe(200);
  const path = `/api/broadcasts/${body.data.broadcast_id}`;
  expect((await call("GET", path, undefined, { key: null })).status).toBe(200);
});

const ROUTES: [string, string, () => unknown][] = [
  ["POST", "/api/broadcast", request],
  ["GET", `/api/broadcasts/${NOBODY}`, () => undefined],
  ["POST", `/api/broadcasts/${NOBODY}/cancel`, () => undefined],
  ["POST", `/api/broadcasts/${NOBODY}/retry`, () => undefined],
];

it.each(ROUTES)(
  "outside development %s %s requires a key, also with AUTH_MODE=optional",
  async (method, path, body) => {
    const config = { ...deps.config, environment: "staging" as const, authMode: "optional" as const };
    const { status, body: told } = await call(method, path, body(), { key: null, on: { ...deps, config } });
    expect([status, told.error.code]).toEqual([401, "UNAUTHORIZED"]);
  },
);

it.each(ROUTES)(
  "the request %s %s is refused with a retry time while Postgres is unreachable",
  async (method, path, body) => {
    const { status, headers, body: told } = await call(method, path, body(), { key: null, on: createAudience(AWAY) });
    expect([status, told.error.code]).toEqual([503, "SERVICE_UNAVAILABLE"]);
    expect(Number(headers.get("Retry-After"))).toBeGreaterThan(0);
  },
);

it("the OpenAPI document describes every broadcast operation", async () => {
  const { body } = await call("GET", "/openapi.json");
  expect(body.paths["/api/broadcast"].post.responses).toHaveProperty("409");
  const parameters = body.paths["/api/broadcasts/{id}"].get.parameters.filter((each: any) => each.in !== "header");
  expect(parameters.map(({ name }: any) => name)).toEqual(["id", "limit", "after", "state"]);
  expect(body.paths).toHaveProperty(["/api/broadcasts/{id}/cancel", "post"]);
  expect(body.paths).toHaveProperty(["/api/broadcasts/{id}/retry", "post"]);
});
