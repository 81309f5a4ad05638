import { randomUUID } from "node:crypto";
import { describe, expect, vi } from "vitest";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { after, echo, gate } from "../support/orchestrator.ts";
import type { LogLine } from "../support/service.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({ ORCHESTRATOR_URL: orchestrator.url }))
  .extend(
    "say",
    { scope: "file" },
    ({ service }) =>
      (otherwise: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
        service.say("/api/messages", message(otherwise), headers),
  )
  /** The adapter the orchestrator was given for a trace. */
  .extend(
    "adapterOf",
    { scope: "file" },
    ({ orchestrator }) =>
      (traceId: string | null) =>
        orchestrator.calls.find(({ adapter }) => adapter.trace_id === traceId)?.adapter,
  )
  .extend(
    "linesOf",
    { scope: "file" },
    ({ service }) =>
      (traceId: string | null) =>
        service.log().filter((line) => line.event === "request" && line.trace_id === traceId),
  )
  /** The request's line in the log, once it is there. */
  .extend(
    "lineOf",
    { scope: "file" },
    ({ linesOf }) =>
      (traceId: string | null) =>
        vi.waitFor(() => {
          const [line] = linesOf(traceId);
          if (line === undefined) throw new Error("There is no line yet");
          return line;
        }, PATIENCE),
  )
  .extend(
    "keyed",
    { scope: "file" },
    ({ service }) =>
      (body: Record<string, unknown>, key: string) =>
        service.say("/api/messages", { ...body, request_id: undefined }, { "Idempotency-Key": key }),
  );

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

const newPhone = () => `+1${String(Math.floor(Math.random() * 1e10)).padStart(10, "2")}`.replace("+10", "+12");
const newEmail = () => `${randomUUID()}@example.com`;
const someone = () => ({ device_id: randomUUID() });

/** A message that is right in every respect, with what the test wants otherwise; undefined leaves a field out. */
const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: someone(),
  ...otherwise,
});

describe("a message that is not in order", () => {
  const INVALID = "VALIDATION_ERROR";
  it.for([
    ["A2.1.1", "says nothing", { content: undefined }, 422, INVALID, "content"],
    ["A2.1.2", "names no instance", { instance_id: undefined }, 422, INVALID, "instance_id"],
    ["A2.1.3", "has no request id anywhere", { request_id: undefined }, 400, "MISSING_REQUEST_ID", undefined],
    ["A2.1.4", "has an empty request id", { request_id: "" }, 400, "INVALID_REQUEST_ID", undefined],
    ["A2.1.4", "has a number for a request id", { request_id: 7 }, 400, "INVALID_REQUEST_ID", undefined],
    ["A2.1.5", "has 10,001 characters", { content: "a".repeat(10_001) }, 422, INVALID, "content"],
    ["A2.1.6", "has a request id of 129", { request_id: "r".repeat(129) }, 422, "INVALID_REQUEST_ID", undefined],
    ["A2.1.7", "has a request id with a space", { request_id: "a b" }, 422, "INVALID_REQUEST_ID", undefined],
  ] as const)(
    "a message with $1 is refused with a code and a field [$0]",
    async ([, , otherwise, status, code, field], { say }) => {
      const reply = await say(otherwise);
      expect({ status: reply.status, code: reply.body.error.code, field: reply.body.error.details.fields?.[0].field })
        // One of them tells which field it was, the others what was wrong with the id.
        .toEqual({ status, code, field });
    },
  );

  it("a message of 10,000 characters with a request id of 128 is accepted", async ({ say }) => {
    const reply = await say({ content: "a".repeat(10_000), request_id: "r".repeat(128) });
    expect(reply.status).toBe(200);
  });
});

describe("who is speaking", () => {
  it.for([
    ["A2.2.1", "phone_e164", newPhone],
    ["A2.2.2", "email", newEmail],
    ["A2.2.3", "device_id", randomUUID],
  ] as const)("a user is the same for every message with the same $1 [$0]", async ([, field, make], { say }) => {
    const mine = make();
    const first = await say({ user: { [field]: mine } });
    const again = await say({ user: { [field]: mine } });
    const other = await say({ user: { [field]: make() } });
    expect(again.body.data.user_id).toBe(first.body.data.user_id);
    expect(other.body.data.user_id).not.toBe(first.body.data.user_id);
  });

  it("a message without identifiers is a guest's where guests are accepted [A2.2.4]", async ({ say, service }) => {
    const reply = await say({ user: undefined });
    expect(reply.body.data).toMatchObject({ is_guest: true });
    const [row] = await service.query("select tier, metadata_json from users where id = $1", [reply.body.data.user_id]);
    expect(row).toEqual({ tier: "guest", metadata_json: "{}" });
  });

  it("a message without identifiers is refused where guests are not accepted [A2.2.5]", async ({ say }) => {
    const reply = await say({ user: undefined, instance_id: INSTANCE.guestless });
    expect(reply).toMatchObject({ status: 401, body: { error: { code: "UNAUTHORIZED" } } });
  });

  it("one phone number is two users at two brands [A2.2.6]", async ({ say, service }) => {
    const user = { phone_e164: newPhone() };
    const acme = await say({ user });
    const globex = await say({ user, instance_id: INSTANCE.globex });
    const rows = await service.query(
      "select brand_id, user_id from user_identifiers where identifier_value = $1 order by brand_id",
      [user.phone_e164],
    );
    expect(rows).toEqual([
      { brand_id: ACME, user_id: acme.body.data.user_id },
      { brand_id: GLOBEX, user_id: globex.body.data.user_id },
    ]);
  });

  it("identifiers count at the top level too, and an empty one in `user` does not hide them", async ({ say }) => {
    const phone = newPhone();
    const first = await say({ user: { phone_e164: phone } });
    const top = await say({ user: { phone_e164: "" }, phone_e164: phone });
    expect(top.body.data.user_id).toBe(first.body.data.user_id);
  });
});

describe("which instance is spoken to", () => {
  it("a message reaches the instance it names [A2.3.1]", async ({ say, adapterOf }) => {
    const reply = await say();
    expect(adapterOf(reply.headers.get("X-Trace-ID"))?.routing).toEqual({
      brand_id: ACME,
      instance_id: INSTANCE.chat,
    });
  });

  it.for([
    ["A2.3.2", "nobody has made", INSTANCE.unknown],
    ["A2.3.3", "has been switched off", INSTANCE.inactive],
  ] as const)("an instance that $1 is not found [$0]", async ([, , instance], { say }) => {
    const reply = await say({ instance_id: instance });
    expect(reply).toMatchObject({
      status: 404,
      body: { error: { code: "RESOURCE_NOT_FOUND", details: { resource_type: "instance", resource_id: instance } } },
    });
  });
});

describe("the same request id", () => {
  it("a new request id is processed [A2.4.1, C6.6.1]", async ({ say }) => {
    const reply = await say({ content: "Good morning" });
    expect(reply).toMatchObject({ status: 200, body: { data: { text: "echo: Good morning", fallback: false } } });
  });

  it("a repeated request id gets the first answer [A2.4.2]", async ({ service }) => {
    const body = message();
    const first = await service.say("/api/messages", body);
    const second = await service.say("/api/messages", body);
    expect(second).toMatchObject({
      status: 409,
      body: { error: { code: "DUPLICATE_REQUEST", details: { state: "completed", retry_after_ms: 0 } } },
    });
    expect(second.body.error.details.cached_response).toEqual(first.body.data);
  });

  it("a request id of another user is another request [A2.4.3]", async ({ say }) => {
    const request_id = randomUUID();
    const statuses = [(await say({ request_id })).status, (await say({ request_id })).status];
    expect(statuses).toEqual([200, 200]);
  });

  it("a request id sent a hundred times at once is processed once [A2.4.4]", async ({ orchestrator, service }) => {
    orchestrator.behave(after(1_000));
    const body = message({ user: { phone_e164: newPhone() } });
    const replies = await Promise.all(Array.from({ length: 100 }, () => service.say("/api/messages", body)));
    const processed = replies.filter(({ status }) => status === 200);
    const duplicates = replies.filter(({ status, body }) => status === 409 && body.error.code === "DUPLICATE_REQUEST");
    expect([processed.length, duplicates.length]).toEqual([1, 99]);

    const { session_id } = processed[0]?.body.data ?? {};
    expect(orchestrator.calls.filter(({ adapter }) => adapter.session_id === session_id)).toHaveLength(1);
    const rows = () => service.query("select role from messages where session_id = $1 order by seq", [session_id]);
    await vi.waitFor(async () => expect(await rows()).toHaveLength(2), PATIENCE);
  });

  it("a repeated request during its run is told when to come back [A5.2.1, A5.2.2, A5.2.3, C6.6.3, C6.6.4]", async ({
    orchestrator,
    service,
  }) => {
    const body = message({ content: randomUUID() });
    const { behaviour, open } = gate();
    orchestrator.behave(behaviour);
    const first = service.say("/api/messages", body);
    await vi.waitUntil(
      () => orchestrator.calls.some(({ adapter }) => adapter.message.content === body.content),
      PATIENCE,
    );
    const second = await service.say("/api/messages", body);
    expect(second.body.error.details.state).toBe("in_progress");
    expect(second.status).toBe(409);
    expect(second.body.error.details.retry_after_ms).toBeGreaterThan(0);
    expect(Number(second.headers.get("Retry-After"))).toBeGreaterThan(0);
    expect(second.body.error.details.request_id).toBe(body.request_id);
    open();
    expect((await first).status).toBe(200);
  });

  it("a repeated request with another body is refused without the first answer", async ({ service }) => {
    const body = message();
    await service.say("/api/messages", body);
    const second = await service.say("/api/messages", { ...body, content: "Something else" });
    expect(second.status).toBe(409);
    expect(second.body.error.details).toEqual({ request_id: body.request_id, state: "payload_mismatch" });
  });

  it("a refused request may be repeated with the same request id", async ({ service }) => {
    const body = message();
    const refused = await service.say("/api/messages", { ...body, content: "" });
    const mended = await service.say("/api/messages", body);
    expect([refused.status, mended.status]).toEqual([422, 200]);
  });
});

describe("the Idempotency-Key header", () => {
  it("a completed request repeated with its Idempotency-Key gets the original answer, marked as replayed", async ({
    keyed,
  }) => {
    const [body, key] = [message(), randomUUID()];
    const first = await keyed(body, key);
    const second = await keyed(body, key);
    expect(first.headers.get("Idempotency-Replayed")).toBeNull();
    expect(second.headers.get("Idempotency-Replayed")).toBe("true");
    expect([second.status, second.body]).toEqual([first.status, first.body]);
  });

  it("a repeated Idempotency-Key with another body is refused as the client's mistake", async ({ keyed }) => {
    const [body, key] = [message(), randomUUID()];
    await keyed(body, key);
    const second = await keyed({ ...body, content: "Something else" }, key);
    expect(second).toMatchObject({ status: 422, body: { error: { code: "VALIDATION_ERROR" } } });
  });

  it("an Idempotency-Key beside a request_id follows the rules of the body", async ({ service }) => {
    const body = message();
    const headers = { "Idempotency-Key": randomUUID() };
    await service.say("/api/messages", body, headers);
    expect((await service.say("/api/messages", body, headers)).status).toBe(409);
  });
});

describe("the channels", () => {
  it.for([
    ["A2.5.1", "api"],
    ["A2.5.2", "web"],
    ["A2.5.3", "app"],
  ] as const)("a message to /$1/messages belongs to that channel [$0]", async ([, channel], { service, adapterOf }) => {
    const reply = await service.say(`/${channel}/messages`, message());
    expect(adapterOf(reply.headers.get("X-Trace-ID"))?.message.channel).toBe(channel);
    const [session] = await service.query("select channel from sessions where id = $1", [reply.body.data.session_id]);
    expect(session).toEqual({ channel });
  });
});

describe("the answer", () => {
  it("an answer is an envelope around the data of the contract [A2.6.1]", async ({ service }) => {
    const body = message();
    const reply = await service.say("/api/messages", body);
    const id = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    const ms = expect.any(Number);
    expect(reply.body).toEqual({
      success: true,
      message: "Message processed",
      data: {
        request_id: body.request_id,
        session_id: id,
        user_id: id,
        is_guest: false,
        inbound_message_id: id,
        message_id: id,
        text: "echo: Hello",
        token_usage: { prompt_in: 12, completion_out: 34, total: 46, cost_usd: "0.0000222" },
        fallback: false,
        timing_ms: { total: ms, admission: ms, orchestrator: ms },
      },
    });
  });

  it("a refusal is an envelope around the error [A2.6.2]", async ({ say }) => {
    const reply = await say({ content: undefined });
    expect(reply.body).toEqual({
      success: false,
      error: {
        code: "VALIDATION_ERROR",
        message: expect.any(String),
        details: { fields: [{ field: "content", message: expect.any(String) }] },
      },
      trace_id: reply.headers.get("X-Trace-ID"),
    });
  });

  it("an answer is JSON that browsers do not sniff", async ({ say }) => {
    const { headers } = await say();
    expect(headers.get("Content-Type")).toBe("application/json; charset=utf-8");
    expect(headers.get("X-Content-Type-Options")).toBe("nosniff");
  });
});

describe("the ids of a request", () => {
  it("an answer has a trace id, a new one for each request [A2.7.1]", async ({ say }) => {
    const ids = [(await say()).headers.get("X-Trace-ID"), (await say()).headers.get("X-Trace-ID")];
    expect(ids).toEqual([expect.stringMatching(/^[0-9a-f]{32}$/), expect.stringMatching(/^[0-9a-f]{32}$/)]);
    expect(new Set(ids).size).toBe(2);
  });

  it("an answer echoes the request id [A2.7.2]", async ({ say }) => {
    const request_id = randomUUID();
    expect((await say({ request_id })).headers.get("X-Request-ID")).toBe(request_id);
  });

  it("an answer has the trace id of the header, also against one in the body [A2.7.3]", async ({ say }) => {
    const mine = `trace-${randomUUID()}`;
    const reply = await say({ trace_id: "from-the-body" }, { "X-Trace-ID": mine });
    expect(reply.headers.get("X-Trace-ID")).toBe(mine);
  });

  it("an answer has the body's trace id when no header has one [A2.7.4]", async ({ say }) => {
    const mine = `trace-${randomUUID()}`;
    expect((await say({ trace_id: mine })).headers.get("X-Trace-ID")).toBe(mine);
  });

  it("an answer prefers a traceparent's trace id to the body's", async ({ say }) => {
    const mine = randomUUID().replaceAll("-", "");
    const reply = await say({ trace_id: "from-the-body" }, { traceparent: `00-${mine}-00f067aa0ba902b7-01` });
    expect(reply.headers.get("X-Trace-ID")).toBe(mine);
  });

  it("a trace id with unsafe characters is replaced, and such a request id is not echoed", async ({ say }) => {
    const reply = await say({ trace_id: 'a"\n{', request_id: "<script>" });
    expect(reply.status).toBe(422);
    expect(reply.headers.get("X-Trace-ID")).toMatch(/^[0-9a-f]{32}$/);
    expect(reply.headers.get("X-Request-ID")).toBeNull();
  });
});

describe("the log", () => {
  let line: LogLine;
  const request_id = `r-${randomUUID()}`;
  const trace = `trace-${randomUUID()}`;
  const secret = `my-secret-words-${randomUUID()}`;
  it.beforeAll(async ({ orchestrator, say, lineOf }) => {
    orchestrator.behave(after(150));
    await say({ request_id, content: secret, user: { email: `${secret}@example.com` } }, { "X-Trace-ID": trace });
    line = await lineOf(trace);
  });

  it("a request has one log line [A2.8.1]", async ({ lineOf, say, linesOf }) => {
    // Another request's line behind it tells that nothing more is to come.
    await lineOf((await say()).headers.get("X-Trace-ID"));
    expect(linesOf(trace)).toHaveLength(1);
  });

  it("a log line has the client's trace id or the generated one [A2.8.2]", async ({ say, lineOf }) => {
    const made = (await say()).headers.get("X-Trace-ID");
    expect([line.trace_id, (await lineOf(made)).trace_id]).toEqual([trace, made]);
  });

  it("a log line has the request id from any place [A2.8.3]", async ({ say, lineOf }) => {
    const other = randomUUID();
    const inHeader = await say({ request_id: undefined }, { "X-Request-ID": other });
    const { request_id: logged } = await lineOf(inHeader.headers.get("X-Trace-ID"));
    expect([line.request_id, logged]).toEqual([request_id, other]);
  });

  it("a log line has the duration [A2.8.4]", () => {
    expect(line.duration_ms).toBeGreaterThanOrEqual(149);
  });

  it("a log line has the outcome [A2.8.5]", async ({ say, lineOf }) => {
    const refused = await say({ instance_id: INSTANCE.unknown });
    const other = await lineOf(refused.headers.get("X-Trace-ID"));
    expect([line.status, line.level]).toEqual([200, "info"]);
    expect([other.status, other.level, other.error_code]).toEqual([404, "warn", "RESOURCE_NOT_FOUND"]);
  });

  it("a log line holds no content and no user's identifiers", ({ service }) => {
    expect(service.output()).not.toContain(secret);
  });
});

describe("a refusal", () => {
  it("a not-found error names the resource and its id [A5.4.1, A5.4.2, A5.4.3]", async ({ say }) => {
    const reply = await say({ instance_id: INSTANCE.unknown });
    expect(reply.status).toBe(404);
    expect(reply.body.error.details.resource_type).toBe("instance");
    expect(reply.body.error.details.resource_id).toBe(INSTANCE.unknown);
  });

  it("a request without a credential is 401 [A5.5.1]", async ({ say }) => {
    const reply = await say({}, { Authorization: "Bearer parley_nobodys_key" });
    expect(reply).toMatchObject({ status: 401, body: { error: { code: "UNAUTHORIZED" } } });
  });

  it("a database failure is a 500 without details, and its cause is logged [A5.6.1, A5.6.2, A5.6.3]", async ({
    service,
    say,
    lineOf,
  }) => {
    await service.query("alter table user_identifiers rename to user_identifiers_away");
    const reply = await say().finally(() =>
      service.query("alter table user_identifiers_away rename to user_identifiers"),
    );
    expect(reply).toMatchObject({ status: 500, body: { error: { code: "DATABASE_ERROR", details: {} } } });
    const { error } = await lineOf(reply.headers.get("X-Trace-ID"));
    expect(error).toMatchObject({ name: "AppError", stack: expect.any(String) });
    expect(error.cause).toMatchObject({ name: "NeonDbError", code: "42P01", stack: expect.any(String) });
    expect(reply.text).not.toMatch(/user_identifiers|select|42P01|127\.0\.0\.1/i);
  });
});
