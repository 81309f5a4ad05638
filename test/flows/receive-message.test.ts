import { describe, expect } from "vitest";
import { createTestApp } from "../support/contract.ts";
import { receiveMessage } from "../../src/flows/receive-message.ts";
import type { IncomingMessage } from "../../src/flows/receive-message.ts";
import { RateLimits } from "../../src/isolate/rate-limits.ts";
import { readCredential } from "../../src/services/authentication.ts";
import { ACME, ACME_KEY, GLOBEX_KEY, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const PHONE = "+14155550123";

const it = databaseTest()
  /** An isolate that has just started. */
  .extend(
    "isolate",
    { scope: "file" },
    ({ database }) =>
      (env: Record<string, string> = {}) =>
        createTestDeps({ endpoint: database.endpoint, env }),
  )
  .extend(
    "people",
    { scope: "file" },
    ({ database }) =>
      () =>
        database.query("select id, tier, brand_id from users order by id"),
  )
  /** That it is refused like this, before any conversation or row has come of it. */
  .extend(
    "expectRefusal",
    { scope: "file" },
    ({ people }) =>
      async (
        changes: Partial<IncomingMessage>,
        refusal: Record<string, unknown>,
        from: TestDeps = deps,
      ): Promise<void> => {
        await expect(receiveMessage(from, message(changes))).rejects.toMatchObject(refusal);
        expect([from.conversations.submissions, await people()]).toEqual([[], []]);
      },
  )
  .extend(
    "deployed",
    { scope: "file" },
    ({ isolate }) =>
      (environment: string, more: Record<string, string> = {}) =>
        isolate({ ENVIRONMENT: environment, JWT_SECRET: "a-secret-of-its-own-that-is-long-enough", ...more }),
  )
  /** That it is refused for this field, before anything is asked of anybody. */
  .extend(
    "expectInvalid",
    { scope: "file" },
    ({ database }) =>
      async (body: Record<string, unknown>, field: string): Promise<void> => {
        const reply = await post("/api/messages", body);
        expect([reply.status, reply.body.error.code]).toEqual([422, "VALIDATION_ERROR"]);
        expect(reply.body.error.details.fields.map((fault: { field: string }) => fault.field)).toEqual([field]);
        expect([deps.conversations.submissions, database.requests]).toEqual([[], []]);
      },
  );
let deps: TestDeps;
it.beforeEach(async ({ database, isolate }) => {
  await database.query("truncate users cascade");
  database.forget();
  deps = isolate();
});

const message = (changes: Partial<IncomingMessage> = {}): IncomingMessage => ({
  channel: "api",
  credential: { kind: "anonymous" },
  instanceId: INSTANCE.chat,
  requestId: "r1",
  traceId: "trace",
  content: "Hello",
  metadata: { value: {}, warnings: [] },
  identifiers: { phone_e164: PHONE },
  clientAddress: "192.0.2.1",
  receivedAt: 1_000,
  ...changes,
});

const withKey = async (key: string) => ({ credential: await readCredential(deps, `Bearer ${key}`) });

/** What a conversation is given for a message, and where. */
async function submitted(changes: Partial<IncomingMessage> = {}, to: TestDeps = deps) {
  await receiveMessage(to, message(changes));
  const last = to.conversations.submissions.at(-1);
  if (last === undefined) throw new Error("No conversation was given anything");
  return last;
}

const notFound = (type: string, id: string) => ({
  code: "RESOURCE_NOT_FOUND",
  status: 404,
  details: { resource_type: type, resource_id: id },
});

describe("a message", () => {
  it("a message is answered by its conversation with the sender's user id [B1.1.1]", async ({ people }) => {
    const receipt = await receiveMessage(deps, message());
    const [{ id } = { id: null }] = await people();
    expect(receipt).toMatchObject({
      outcome: { kind: "answered", answer: { request_id: "r1", text: "You said: Hello" } },
      brandId: ACME,
      userId: id,
      isGuest: false,
    });
  });
});

/** The person, their session and the instance, as the conversation is given them. */
const context = ({ submission }: Awaited<ReturnType<typeof submitted>>) => ({
  user: submission.user,
  session: submission.openSession?.id,
  instance: submission.bundle.instance.id,
  config: submission.bundle.config?.id,
});

describe("who speaks, and to what", () => {
  it.for([
    ["unknown", INSTANCE.unknown],
    ["inactive", INSTANCE.inactive],
  ] as const)("a message is refused when the instance is %s [C5.1.1, B2.1.5]", ([, instanceId], { expectRefusal }) =>
    expectRefusal({ instanceId }, notFound("instance", instanceId)),
  );

  it("a message is refused when the instance has no active configuration [C5.1.2, B2.1.6]", ({ expectRefusal }) =>
    expectRefusal({ instanceId: INSTANCE.unconfigured }, notFound("config", INSTANCE.unconfigured)));

  it("a message is refused when the instance's brand is missing or another than the caller's [C5.1.3]", async ({
    database,
    expectRefusal,
    isolate,
  }) => {
    await database.query("update brands set is_active = false where id = $1", [ACME]);
    await expectRefusal({}, notFound("instance", INSTANCE.chat)).finally(() =>
      database.query("update brands set is_active = true where id = $1", [ACME]),
    );
    deps = isolate();
    await expectRefusal(await withKey(GLOBEX_KEY), notFound("instance", INSTANCE.chat));
  });

  it("a message belongs to the user of its identifiers, however they are spelled [C5.1.4]", async ({
    isolate,
    people,
  }) => {
    const first = await submitted({ identifiers: { phone_e164: PHONE, email: "ann@example.com" } });
    const byPhone = await submitted({ identifiers: { phone_e164: "+1 (415) 555-0123" } }, isolate());
    const byEmail = await submitted({ identifiers: { email: "Ann@Example.COM" } }, isolate());
    const [ann, ...others] = await people();
    expect(others).toEqual([]);
    expect([first, byPhone, byEmail].map(({ submission }) => submission.user)).toEqual(
      Array.from({ length: 3 }, () => ({ id: ann?.["id"], tier: "standard" })),
    );
    expect((await submitted({ identifiers: { phone_e164: "+14155550124" } })).submission.user.id).not.toBe(ann?.["id"]);
  });

  it("a message without identifiers is a guest's where guests are accepted, the same guest when repeated [C5.1.5]", async ({
    isolate,
    people,
  }) => {
    const requestId = crypto.randomUUID();
    const { submission } = await submitted({ identifiers: {}, requestId });
    const again = await submitted({ identifiers: {}, requestId }, isolate());
    expect(submission).toMatchObject({ user: { tier: "guest" }, authState: "guest" });
    expect(again.submission.user).toEqual(submission.user);
    expect(await people()).toEqual([{ id: submission.user.id, tier: "guest", brand_id: ACME }]);
  });

  it.for([
    ["says nothing of themselves", {}, {}],
    ["only claims a number, where credentials are required", { AUTH_MODE: "required" }, { phone_e164: PHONE }],
  ] as const)(
    "a message is refused when the sender %s and guests are not accepted [C5.1.6]",
    async ([, env, identifiers], { expectRefusal, isolate }) => {
      const refusal = {
        code: "UNAUTHORIZED",
        status: 401,
        message: expect.stringContaining("guests are not accepted"),
      };
      await expectRefusal({ channel: "web", instanceId: INSTANCE.guestless, identifiers }, refusal, isolate(env));
    },
  );

  it("a message opens a session, and the next one continues it [C5.1.7]", async ({ database, isolate }) => {
    const first = context(await submitted());
    expect(await database.query("select id, user_id, instance_id, brand_id, expired_at from sessions")).toEqual([
      { id: first.session, user_id: first.user.id, instance_id: INSTANCE.chat, brand_id: ACME, expired_at: null },
    ]);
    expect(context(await submitted({ requestId: "r2" }, isolate())).session).toBe(first.session);
  });

  it("a message reaches the conversation with user, session, instance and configuration [C5.1.8]", async ({
    database,
  }) => {
    const given = await submitted(await withKey(ACME_KEY));
    const [config] = await database.query("select id from instance_configs where instance_id = $1 and is_active", [
      INSTANCE.chat,
    ]);
    const [session] = await database.query("select id from sessions");
    expect(context(given)).toEqual({
      user: { id: expect.any(String), tier: "standard" },
      session: session?.["id"],
      instance: INSTANCE.chat,
      config: config?.["id"],
    });
    expect(given.address).toBe(addresses.chat(INSTANCE.chat, given.submission.user.id));
    expect(given.submission.bundle.config?.templateSet?.templates).not.toEqual({});
  });
});

describe("a message over a limit", () => {
  const GUEST = { channel: "web", identifiers: {} } as const;
  const limited = (scope: string) => ({ code: "RATE_LIMITED", details: { scope, retry_after_ms: expect.any(Number) } });
  /** An isolate whose instance may take so many messages. */
  const spent = (from: TestDeps, messages: number): TestDeps => {
    let left = messages;
    const lease = async () => (left-- > 0 ? { granted: 1, retryAfterMs: 0 } : { granted: 0, retryAfterMs: 1_000 });
    from.caches.rateLimits = new RateLimits(() => ({ lease }));
    return from;
  };

  it("a guest beyond the instance's rate leaves no row", async ({ people, isolate }) => {
    const from = spent(isolate({ RATE_LIMIT_INSTANCE_PER_MINUTE: "100" }), 3);
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, n) => receiveMessage(from, message({ ...GUEST, requestId: `r${n}` }))),
    );
    const refused = outcomes.filter(({ status }) => status === "rejected");
    expect(refused).toMatchObject(Array.from({ length: 7 }, () => ({ reason: limited("instance") })));
    expect(await people()).toHaveLength(3);
  });

  it("a first contact beyond the instance's rate leaves no row", ({ expectRefusal, isolate }) =>
    expectRefusal({}, limited("instance"), spent(isolate({ RATE_LIMIT_INSTANCE_PER_MINUTE: "100" }), 0)));

  it("a repeated message of a guest is asked of their conversation, whatever the rate", async ({ isolate }) => {
    const from = spent(isolate({ RATE_LIMIT_INSTANCE_PER_MINUTE: "100" }), 1);
    const again = message({ ...GUEST, requestId: crypto.randomUUID() });
    await receiveMessage(from, again);
    await receiveMessage(from, again);
    const [first, second] = from.conversations.submissions;
    expect(second?.address).toBe(first?.address);
    expect(second?.submission.exhausted).toEqual({ retryAfterMs: 1_000 });
  });

  it("a message that is refused afterwards spends nothing of the rate", async ({ isolate }) => {
    const from = spent(isolate({ RATE_LIMIT_INSTANCE_PER_MINUTE: "100" }), 1);
    const guestless = message({ ...GUEST, instanceId: INSTANCE.guestless });
    await expect(receiveMessage(from, guestless)).rejects.toMatchObject({ code: "UNAUTHORIZED" });
    await receiveMessage(from, message({ instanceId: INSTANCE.guestless }));
    expect(from.conversations.submissions).toHaveLength(1);
  });

  it("a client that creates too many guests is refused by its network", async ({ people, isolate }) => {
    const from = isolate();
    const asked: string[] = [];
    from.withinFloodLimit = async (network) => asked.push(network) < 3;
    const say = (clientAddress: string) => receiveMessage(from, message({ ...GUEST, clientAddress }));
    await say("192.0.2.1");
    await say("2001:db8:1:2:3:4:5:6");
    await expect(say("2001:db8:1:2:ffff::1")).rejects.toMatchObject(limited("address"));
    expect(asked).toEqual(["192.0.2.1", "2001:db8:1:2::/64", "2001:db8:1:2::/64"]);
    expect(await people()).toHaveLength(2);
  });
});

describe("whoever is turned away", () => {
  it("a refused request keeps its look-ups until they are complete, for the requests that share them", async ({
    expectRefusal,
  }) => {
    for (let stranger = 0; stranger < 64; stranger += 1) void deps.caches.lookups.run(() => new Promise(() => {}));
    await expectRefusal(await withKey(ACME_KEY), { code: "RATE_LIMITED", details: { scope: "service" } });
    expect([deps.caches.instances.counters.size, deps.caches.apiKeys.counters.size]).toEqual([1, 1]);
  });
});

describe("outside development", () => {
  const WEB = { channel: "web", identifiers: {} } as const;
  const refusal = { code: "ORCHESTRATION_ERROR", status: 502 };

  it.for(["production", "staging"])(
    "a message is refused in %s when no orchestrator is configured [B2.4.2]",
    (name, { expectRefusal, deployed }) => expectRefusal(WEB, refusal, deployed(name)),
  );

  it.for([
    ["empty", ""],
    ["blank", "  "],
  ] as const)(
    "a message is refused when ENVIRONMENT is %s and no orchestrator is configured [B2.4.6]",
    ([, name], { expectRefusal, deployed }) => expectRefusal(WEB, refusal, deployed(name)),
  );

  it("a message is accepted where an orchestrator is configured", async ({ deployed }) => {
    const { submission } = await submitted(WEB, deployed("production", { ORCHESTRATOR_URL: "https://example.com/" }));
    expect(submission.content).toBe("Hello");
  });
});

const post = async (path: string, body: Record<string, unknown>) => {
  const response = await createTestApp(() => deps).request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ instance_id: INSTANCE.chat, request_id: "r1", content: "Hello", ...body }),
  });
  return { status: response.status, body: (await response.json()) as any };
};

describe("what a client sends", () => {
  it("a message without an instance is refused [B1.1.2]", ({ expectInvalid }) =>
    expectInvalid({ instance_id: undefined }, "instance_id"));

  it("a message without a request id is refused [B1.1.3]", async ({ database }) => {
    const { status, body } = await post("/api/messages", { request_id: undefined });
    expect([status, body.error.code]).toEqual([400, "MISSING_REQUEST_ID"]);
    expect([deps.conversations.submissions, database.requests]).toEqual([[], []]);
  });

  it.for([
    ["without words [B2.1.1]", undefined],
    ["with null for words", null],
    ["with an empty text [B1.4.1]", ""],
    ["with blanks and line ends", " \t\r\n \u00A0"],
    ["with nothing but characters nobody means to send", "\u0000\u001B\u202E"],
    ["one character too long [B1.1.4, B1.4.2, B2.1.2]", "x".repeat(10_001)],
    ["one emoji too long", "👋".repeat(10_001)],
  ] as const)("a message is refused %s", ([, content], { expectInvalid }) => expectInvalid({ content }, "content"));

  it.each([
    ["ten thousand letters", "é".repeat(10_000)],
    ["ten thousand emoji", "👋".repeat(10_000)],
    ["markup", "<b>1 < 2</b> & 'so on'\n\ttoo"],
  ])("a message arrives unchanged: %s [B1.4.3]", async (_, content) => {
    expect((await post("/api/messages", { content: `  ${content}\n` })).status).toBe(200);
    expect(deps.conversations.submissions.map(({ submission }) => submission.content)).toEqual([content]);
  });

  it.each(["api", "web", "app"] as const)(
    "a message to %s is passed to the one entry of all channels [B1.1.5]",
    async (channel) => {
      const metadata = { page: 7 };
      const { status, body } = await post(`/${channel}/messages`, {
        metadata,
        trace_id: "t",
        user: { phone_e164: PHONE },
      });
      const [{ submission, address } = { submission: null, address: "" }] = deps.conversations.submissions;
      expect(submission).toMatchObject({ channel, requestId: "r1", traceId: "t", content: "Hello", metadata });
      expect(address).toBe(addresses.chat(INSTANCE.chat, submission?.user.id ?? ""));
      expect([status, body.data.user_id, body.data.text]).toEqual([200, submission?.user.id, "You said: Hello"]);
    },
  );
});
