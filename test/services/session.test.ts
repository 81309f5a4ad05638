import { afterAll, afterEach, beforeAll, describe, expect, vi } from "vitest";
import { isOver } from "../../src/domain/session.ts";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import type { Gateway } from "../support/gateway.ts";
import { contents, somebody } from "../support/people.ts";
import { gatewayTest } from "../support/fixtures.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const MINUTE_MS = 60_000;

const it = gatewayTest()
  /** The session's row: times in minutes since the test began. */
  .extend("rowOf", { scope: "file" }, ({ gateway }) => async (id: string) => {
    const minutes = (column: string) =>
      `round(extract(epoch from ${column}) / 60 - ${NOW / MINUTE_MS}, 2)::float8 as ${column}`;
    const [row] = await gateway.database.query(
      `select ${["started_at", "last_message_at", "last_assistant_message_at", "expired_at"].map(minutes).join(", ")},
       token_plan_json::text as plan, metadata_json::text as metadata from sessions where id = $1`,
      [id],
    );
    return row;
  })
  .extend(
    "start",
    { scope: "file" },
    ({ gateway }) =>
      (body: unknown, credential: string) =>
        gateway.send("POST", "/api/v1/conversations/start", body, credential),
  );
beforeAll(() => void vi.setSystemTime(NOW));
afterAll(() => void vi.useRealTimers());
afterEach(() => vi.setSystemTime(NOW));

const later = (minutes: number) => vi.setSystemTime(NOW + minutes * MINUTE_MS);

describe("a visitor", () => {
  it("a first message makes a session without a token plan [C3.1.5, C3.1.9, I5.1]", async ({ gateway, rowOf }) => {
    const email = `${crypto.randomUUID()}@example.com`;
    const plans: (string | null)[] = [];
    const stop = gateway.database.observe(({ queries }) => {
      if (queries.some((query) => query.includes("insert into idempotency_locks"))) plans.push("answered");
    });
    const reply = await gateway.send("POST", "/api/messages", {
      instance_id: INSTANCE.chat,
      request_id: "first",
      content: "Hello",
      user: { email },
    });
    const id = reply.body.data.session_id;
    expect(await rowOf(id)).toMatchObject({ started_at: "0", plan: null, expired_at: null });
    await gateway.flush();
    stop();
    expect(plans).toEqual(["answered"]);
  });

  it("a first answer makes the session's token plan [C3.1.10]", async ({ gateway, rowOf }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Hello");
    await gateway.flush();
    expect(JSON.parse((await rowOf(id))?.["plan"] ?? "null").templates).toHaveProperty("acme_response");
  });

  it("a message within the timeout continues the open session and moves its time [C3.1.3, C3.1.7]", async ({
    gateway,
    rowOf,
  }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Hello");
    await gateway.flush();
    later(59);
    expect((await ann.say("Me again")).session_id).toBe(id);
    await gateway.flush();
    expect(await rowOf(id)).toMatchObject({ started_at: "0", last_message_at: "59", expired_at: null });
  });

  it("a message after the timeout begins a new session and ends the first [C3.1.4, C3.6.1]", async ({
    gateway,
    rowOf,
  }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Hello");
    await gateway.flush();
    later(61);
    const { session_id: next } = await ann.say("Me again");
    expect(next).not.toBe(id);
    expect((await ann.details(next)).body.data).toMatchObject({ started_at: new Date(Date.now()).toISOString() });
    await gateway.flush();
    expect((await rowOf(id))?.["expired_at"]).toBe("61");
    expect((await rowOf(next))?.["expired_at"]).toBeNull();
  });

  it("a session is readable before Postgres has it", async ({ gateway, rowOf }) => {
    const ann = await somebody(gateway);
    await ann.say("Hello");
    await gateway.flush();
    later(61);
    const { session_id: id } = await ann.say("Me again");
    expect(await rowOf(id)).toBeUndefined();
    expect(contents(await ann.history(id))).toEqual(["You said: Me again", "Me again"]);
    expect((await gateway.get(`/api/v1/conversations/${id}/messages`, ACME_KEY)).status).toBe(200);
    expect((await ann.usage(id)).body.data.totals.turns).toBe(1);
  });

  it("a session has the timeout of its instance [C3.6.2]", async ({ gateway }) => {
    await gateway.database.query("update instance_configs set session_timeout_minutes = 5 where instance_id = $1", [
      INSTANCE.guestless,
    ]);
    const ann = await somebody(gateway, { instanceId: INSTANCE.guestless });
    const { session_id: id } = await ann.say("Hello");
    later(5);
    expect((await ann.say("Still here")).session_id).toBe(id);
    later(11);
    expect((await ann.say("Too late")).session_id).not.toBe(id);
    await gateway.flush();
    expect((await ann.details(id)).body.data.expired_at).toBe(new Date(NOW + 11 * MINUTE_MS).toISOString());
  });

  it("a user's ten newest open sessions stay open [C3.1.6]", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const ids: string[] = [];
    for (let n = 0; n < 12; n += 1) {
      later(n);
      ids.push(await ann.start());
    }
    await gateway.flush();
    const open = await gateway.database.query(
      "select id from sessions where user_id = $1 and expired_at is null order by started_at",
      [ann.userId],
    );
    expect(open.map(({ id }) => id)).toEqual(ids.slice(2));
  });
});

it.each([
  [0, false],
  [1, true],
])("a session quiet for its timeout and %i ms is over: %s [C3.6.3]", (more, over) => {
  expect(isOver({ lastMessageAt: NOW }, 60 * MINUTE_MS, NOW + 60 * MINUTE_MS + more)).toBe(over);
});

describe("a conversation that is started", () => {
  it("a started conversation needs a user: a brand's server that names none is refused [C3.1.1, C4.1.2]", async ({
    start,
  }) => {
    const reply = await start({ instance_id: INSTANCE.chat }, ACME_KEY);
    expect([reply.status, reply.body.error.details.fields]).toEqual([
      400,
      [{ field: "user_id", message: "user_id or user is required" }],
    ]);
  });

  it("a started conversation needs an instance [C3.1.2]", async ({ gateway, start }) => {
    const ann = await somebody(gateway);
    const reply = await start({}, ann.token);
    expect([reply.status, reply.body.error.details.fields[0].field]).toEqual([422, "instance_id"]);
  });

  it("a started conversation keeps its metadata without secrets [C3.1.8]", async ({ gateway, rowOf }) => {
    const ann = await somebody(gateway);
    const metadata = { room: "r-1", note: "a\u0000b", api_key: "s3cret", nested: { password: "x", kept: [1] } };
    const id = await ann.start({ metadata });
    const kept = { room: "r-1", note: "a b", nested: { kept: [1] } };
    expect((await ann.details(id)).body.data.metadata).toEqual(kept);
    await gateway.flush();
    expect(JSON.parse((await rowOf(id))?.["metadata"] ?? "")).toEqual(kept);
    expect((await ann.details(id)).body.data.metadata).toEqual(kept);
  });

  it("a started conversation is in its user's list at once", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const { conversations } = (await ann.list()).body.data;
    expect(conversations.map(({ conversation_id }: any) => conversation_id)).toEqual([id]);
  });

  it("a started conversation belongs to the named user and begins no other one", async ({ gateway, start }) => {
    const ann = await somebody(gateway);
    const named = await start({ instance_id: INSTANCE.chat, user_id: ann.userId }, ACME_KEY);
    expect(named.body.data).toMatchObject({ user_id: ann.userId, instance_id: INSTANCE.chat, channel: "api" });
    const email = `${crypto.randomUUID()}@example.com`;
    const met = await start({ instance_id: INSTANCE.chat, user: { email } }, ACME_KEY);
    await gateway.flush();
    const sessions = await gateway.database.query("select id from sessions where user_id = $1", [
      met.body.data.user_id,
    ]);
    expect(sessions).toEqual([{ id: met.body.data.conversation_id }]);
  });

  it("a started conversation is the same for a repeated request id of the same user", async ({ gateway }) => {
    const [ann, bob] = [await somebody(gateway), await somebody(gateway)];
    const ask = async (token: string, requestId: string) =>
      (
        await gateway.request("/api/v1/conversations/start", {
          method: "POST",
          headers: {
            "Content-Type": "application/json",
            Authorization: `Bearer ${token}`,
            "X-Request-ID": requestId,
          },
          body: JSON.stringify({ instance_id: INSTANCE.chat }),
        })
      ).body.data.conversation_id;
    const id = await ask(ann.token, "r1");
    expect(await ask(ann.token, "r1")).toBe(id);
    expect(new Set([id, await ask(ann.token, "r2"), await ask(bob.token, "r1")]).size).toBe(3);
  });

  it.for([
    ["of another person", 403, (ann: { userId: string }) => ({ instance_id: INSTANCE.chat, user_id: ann.userId })],
    ["with another brand's instance", 401, () => ({ instance_id: INSTANCE.globex })],
    ["with an instance that is not active", 404, () => ({ instance_id: INSTANCE.inactive })],
  ] as const)("a conversation can't be started: %s", async ([, status, body], { gateway, start }) => {
    const [ann, bob] = [await somebody(gateway), await somebody(gateway)];
    expect((await start(body(ann), bob.token)).status).toBe(status);
  });

  it("a conversation can't be started for an unknown user", async ({ gateway, start }) => {
    const stranger = await somebody(gateway, { brandId: "00000000-0000-4000-8000-000000000002" });
    const reply = await start({ instance_id: INSTANCE.chat, user_id: stranger.userId }, ACME_KEY);
    expect([reply.status, reply.body.error.details]).toEqual([
      404,
      { resource_type: "user", resource_id: stranger.userId },
    ]);
  });
});

describe("what is said in a session", () => {
  it("a message moves the times of its session [C3.2.2]", async ({ gateway, rowOf }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    later(7);
    await ann.transcribe(id, { role: "user", content: "Hello" });
    later(8);
    await ann.transcribe(id, { role: "assistant", content: "Hi" });
    later(9);
    await ann.transcribe(id, { role: "user", content: "an old one", timestamp: new Date(NOW).toISOString() });
    await gateway.flush();
    expect(await rowOf(id)).toMatchObject({ last_message_at: "8", last_assistant_message_at: "8" });
  });

  it("a message after the end of its session opens it again [C3.2.3]", async ({ gateway, rowOf }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    later(5);
    await ann.expire(id);
    later(6);
    await ann.transcribe(id, { role: "user", content: "late", timestamp: new Date(NOW + 4 * MINUTE_MS).toISOString() });
    expect((await ann.details(id)).body.data.expired_at).toBe(new Date(NOW + 5 * MINUTE_MS).toISOString());
    await gateway.flush();
    expect((await rowOf(id))?.["expired_at"]).toBe("5");
    await ann.transcribe(id, { role: "user", content: "one more thing" });
    expect((await ann.details(id)).body.data.expired_at).toBeNull();
    await gateway.flush();
    expect((await rowOf(id))?.["expired_at"]).toBeNull();
  });

  it("a message after the end of its session opens it again also when both are written at once", async ({
    gateway,
    rowOf,
  }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.expire(id);
    later(1);
    await ann.transcribe(id, { role: "user", content: "one more thing" });
    await gateway.flush();
    expect((await rowOf(id))?.["expired_at"]).toBeNull();
  });

  it("a transcript needs the id of an existing conversation [C3.2.1, C3.2.4, C4.1.1, C4.2.1]", async ({ gateway }) => {
    const ann = await somebody(gateway);
    for (const role of ["user", "assistant"]) {
      const blank = await ann.transcribe("%20", { role, content: "Hello" });
      expect([blank.status, blank.body.error.code]).toEqual([400, "VALIDATION_ERROR"]);
      expect((await ann.transcribe(crypto.randomUUID(), { role, content: "Hello" })).status).toBe(404);
    }
  });
});

describe("a session that somebody ends", () => {
  it("an ended session is over, and the next message begins another [C3.3.2, C3.3.3]", async ({ gateway, rowOf }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Hello");
    later(3);
    const reply = await ann.expire(id);
    const expired_at = new Date(NOW + 3 * MINUTE_MS).toISOString();
    expect([reply.status, reply.body.data]).toEqual([200, { conversation_id: id, expired_at }]);
    expect((await ann.details(id)).body.data.expired_at).toBe(expired_at);
    later(4);
    expect((await ann.say("Another matter")).session_id).not.toBe(id);
    await gateway.flush();
    expect((await rowOf(id))?.["expired_at"]).toBe("3");
    expect((await ann.details(id)).body.data.expired_at).toBe(expired_at);
  });

  it("a session ended twice keeps its first end", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const once = await ann.expire(id);
    later(1);
    expect((await ann.expire(id)).body.data).toEqual(once.body.data);
  });

  it("an ended session stays over after its object emptied, also for isolates that cached it", async ({
    gateway,
    rowOf,
  }) => {
    const ann = await somebody(gateway);
    const { session_id: id } = await ann.say("Hello");
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    await ann.expire(id);
    expect((await ann.say("Another matter")).session_id).not.toBe(id);
    await gateway.flush();
    expect((await rowOf(id))?.["expired_at"]).toBe("0");
  });

  it("an end needs the id of an existing conversation [C3.3.1, C3.3.4]", async ({ gateway }) => {
    const ann = await somebody(gateway);
    expect((await ann.expire("%20")).body.error.code).toBe("VALIDATION_ERROR");
    const id = crypto.randomUUID();
    const reply = await ann.expire(id);
    expect([reply.status, reply.body.error]).toMatchObject([
      404,
      { code: "RESOURCE_NOT_FOUND", details: { resource_type: "conversation", resource_id: id } },
    ]);
  });
});

describe.each([
  ["before Postgres has it", (_gateway: Gateway) => Promise.resolve()],
  ["when Postgres has it", (gateway: Gateway) => gateway.flush()],
])("a session in detail, %s,", (_when, settle) => {
  it("a session's details state owner, age, quiet time and message counts [C3.5.2, C3.5.3, C3.5.4, C3.5.5]", async ({
    gateway,
  }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    later(10);
    await ann.transcribe(id, [
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
      { role: "user", content: "c" },
    ]);
    await settle(gateway);
    later(12.5);
    const reply = await ann.details(id);
    expect(reply.body.data).toEqual({
      conversation_id: id,
      instance_id: INSTANCE.chat,
      user_id: ann.userId,
      channel: "api",
      started_at: new Date(NOW).toISOString(),
      last_message_at: new Date(NOW + 10 * MINUTE_MS + 2).toISOString(),
      last_assistant_message_at: new Date(NOW + 10 * MINUTE_MS + 1).toISOString(),
      expired_at: null,
      metadata: {},
      age_minutes: 12.5,
      inactive_minutes: 2.5,
      message_count: { user: 2, assistant: 1, system: 0, total: 3 },
    });
  });

  it("a session's details count each message once while some are saved", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, { role: "user", content: "a" });
    await settle(gateway);
    await ann.transcribe(id, { role: "user", content: "b" });
    expect((await ann.details(id)).body.data.message_count.user).toBe(2);
  });
});

it("an unknown session has no details, and an empty id is refused [C3.5.1, C3.5.6]", async ({ gateway }) => {
  const ann = await somebody(gateway);
  expect((await ann.details("%20")).body.error.code).toBe("VALIDATION_ERROR");
  expect((await ann.details(crypto.randomUUID())).status).toBe(404);
});
