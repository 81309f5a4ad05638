import { describe, expect } from "vitest";
import { writeEntries } from "../../src/db/ledger.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import type { LedgerEntry, LedgerUsage } from "../../src/domain/ledger.ts";
import type { Caller } from "../../src/domain/principal.ts";
import type { Session } from "../../src/domain/session.ts";
import { answerTurn } from "../../durable-objects/conversation/turns/answer.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { findInstance } from "../../src/services/instance.ts";
import type { ReadyBundle } from "../../src/services/instance.ts";
import { planSession, usageStats } from "../../src/services/usage.ts";
import { ACME, ACME_KEY, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { answeredTurn, keyed, sessionOf } from "../support/entries.ts";
import { answerWith, gate } from "../support/orchestrator.ts";
import { buildTokenPlan } from "../../src/domain/token-plan.ts";
import type { TokenPlan } from "../../src/domain/token-plan.ts";
import { gatewayTest } from "../support/fixtures.ts";

const NOWHERE = "01900000-0000-7000-8000-00000000dead";
const MODEL = "00000000-0000-4000-8000-000000000102";
const reply = answerWith({ text: "Hi", usage: { prompt_tokens: 1_200, completion_tokens: 340 } });

const it = gatewayTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
  }))
  .extend(
    "stats",
    { scope: "file" },
    ({ gateway }) =>
      (sessionId: string) =>
        usageStats(gateway.deps(), caller, sessionId),
  )
  .extend(
    "ask",
    { scope: "file" },
    ({ gateway }) =>
      (path: string) =>
        gateway.get(`/api/v1/conversations/${path}`, ACME_KEY),
  )
  /** Somebody Acme knows. */
  .extend("somebody", { scope: "file" }, ({ gateway }) => async (): Promise<string> => {
    const [row] = await gateway.database.query(
      "insert into users (brand_id, tier) values ($1, 'standard') returning id",
      [ACME],
    );
    return row?.id ?? "";
  })
  .extend(
    "say",
    { scope: "file" },
    ({ gateway }) =>
      (email: string) =>
        gateway.send(
          "POST",
          "/api/messages",
          { instance_id: INSTANCE.chat, request_id: crypto.randomUUID(), content: "Hello", user: { email } },
          ACME_KEY,
        ),
  )
  /** Straight to Postgres, in one transaction. */
  .extend(
    "write",
    { scope: "file" },
    ({ gateway }) =>
      async (...entries: LedgerEntry[]) =>
        writeEntries(gateway.deps().db, await Promise.all(entries.map(keyed))),
  )
  /** The chat instance as Postgres has it. */
  .extend("chat", { scope: "file" }, ({ gateway }) => async (): Promise<ReadyBundle> => {
    const bundle = await findInstance(createTestDeps({ endpoint: gateway.database.endpoint }), INSTANCE.chat);
    if (bundle?.config == null) throw new Error("The demo has an instance");
    return { ...bundle, config: bundle.config };
  })
  .extend("stored", { scope: "file" }, ({ gateway }) => async (sessionId: string) => {
    const [row] = await gateway.database.query(
      "select token_plan_json, updated_at > now() - interval '1 hour' as is_fresh from sessions where id = $1",
      [sessionId],
    );
    return { plan: JSON.parse(row?.token_plan_json ?? "null") as TokenPlan | null, isFresh: row?.is_fresh };
  })
  /** A run of a turn, in this session of this instance. */
  .extend(
    "answered",
    { scope: "file" },
    ({ orchestrator }) =>
      async (session: Partial<Session>, bundle: ReadyBundle) => {
        const deps = createTestDeps({ env: { ORCHESTRATOR_URL: orchestrator.url } });
        if (deps.orchestrator === null) throw new Error("There is nobody to ask");
        const adapter = {
          bundle,
          user: { id: "ann", tier: "standard" } as const,
          session: { ...sessionOf("ann"), ...session },
          message: { id: "m", content: "Hello", channel: "api", metadata: {} } as const,
          history: [],
          traceId: "trace",
          authState: "identified" as const,
          now: 3_000,
        };
        const run = { turn: { turnId: "turn", fence: 1 }, adapter, signal: new AbortController().signal };
        return { result: await answerTurn({ ...deps, orchestrator: deps.orchestrator }, run), lines: deps.lines };
      },
  )
  .extend("records", { scope: "file" }, ({ ask }) => async (query = "") => {
    const { status, body } = await ask(`${session.id}/usage/records${query}`);
    expect(status).toBe(200);
    return body.data.records as Record<string, unknown>[];
  });
it.beforeEach(({ orchestrator }) => {
  orchestrator.behave(reply);
  orchestrator.calls.splice(0);
});

const caller: Caller = { kind: "brand", brandId: ACME, keyId: "key", scopes: [] };

const invalid = (field: string) => ({ code: "VALIDATION_ERROR", details: { fields: [{ field }] } });
const missing = (resource_type: string, resource_id: string) => ({
  code: "RESOURCE_NOT_FOUND",
  details: { resource_type, resource_id },
});

/** A turn that took this. */
function spent(session: Session, at: number, usage: Partial<LedgerUsage>): LedgerEntry {
  const turn = answeredTurn(session, { at, requestId: `r${at}` });
  return { ...turn, usage: turn.usage && { ...turn.usage, ...usage } };
}

const PLAN: TokenPlan = { templates: {}, created_at: "2026-01-01T00:00:00.000Z" };

describe("a session is planned", () => {
  it("a turn without a session is refused before a plan or a call [C7.3.1]", async ({
    answered,
    chat,
    orchestrator,
  }) => {
    await expect(answered({ id: "" }, await chat())).rejects.toMatchObject(invalid("session"));
    expect(orchestrator.calls).toEqual([]);
  });

  it("a turn whose session was erased meanwhile is not found and leaves nothing [C7.3.2]", async ({
    say,
    orchestrator,
    gateway,
  }) => {
    const email = "erased@example.com";
    const id = (await say(email)).body.data.session_id;
    const asked = Promise.withResolvers<void>();
    const { behaviour, open } = gate(reply);
    orchestrator.behave((call, response) => {
      asked.resolve();
      return behaviour(call, response);
    });
    const waiting = say(email);
    await asked.promise;
    expect((await gateway.send("DELETE", `/api/v1/conversations/${id}`, undefined, ACME_KEY)).status).toBe(200);
    open();
    const { status, body } = await waiting;
    expect([status, body.error]).toMatchObject([404, missing("conversation", id)]);
    await gateway.flush();
    expect(await gateway.database.query("select id from sessions where id = $1", [id])).toEqual([]);
  });

  it.for([
    ["an instance there is", "C7.3.3", "instance", INSTANCE.unknown],
    ["an instance with an active configuration", "C7.3.4", "config", INSTANCE.unconfigured],
  ] as const)(
    "a session needs %s: otherwise 404 and no session begins [%s]",
    async ([, , type, instanceId], { gateway, somebody }) => {
      const count = () => gateway.database.query("select count(*) from sessions");
      const before = await count();
      const start = { instance_id: instanceId, user_id: await somebody() };
      const { status, body } = await gateway.send("POST", "/api/v1/conversations/start", start, ACME_KEY);
      expect([status, body.error]).toMatchObject([404, missing(type, instanceId)]);
      await gateway.flush();
      expect(await count()).toEqual(before);
    },
  );

  it("a token plan needs a template set [C7.3.5]", async ({ chat, gateway }) => {
    const setId = (await chat()).config.templateSet?.id ?? "";
    const change = "update instance_configs set template_set_id = $2 where instance_id = $1 and is_active";
    await gateway.database.query(change, [INSTANCE.chat, null]);
    try {
      const bundle = await chat();
      expect(() => planSession(createTestDeps(), bundle)).toThrow(
        expect.objectContaining({ status: 404, ...missing("template_set", INSTANCE.chat) }),
      );
    } finally {
      await gateway.database.query(change, [INSTANCE.chat, setId]);
    }
  });

  it("a token plan needs functions in the template set [C7.3.6]", async ({ chat }) => {
    const bundle = await chat();
    expect(planSession(createTestDeps(), bundle)).not.toBeNull();
    const { templateSet } = bundle.config;
    const config = { ...bundle.config, templateSet: templateSet && { ...templateSet, functions: {} } };
    expect(planSession(createTestDeps(), { ...bundle, config })).toBeNull();
  });

  describe("by its first turn,", () => {
    let id: string;
    it.beforeAll(async ({ orchestrator, say, gateway }) => {
      orchestrator.behave(reply);
      id = (await say("planned@example.com")).body.data.session_id;
      await gateway.flush();
    });

    it("the first turn plans the session by its instance's template set of that day [C7.3.7]", async ({
      stored,
      chat,
    }) => {
      const { plan } = await stored(id);
      const { templateSet } = (await chat()).config;
      if (plan === null || templateSet === null) throw new Error("There is nothing to compare");
      expect(plan).toEqual(buildTokenPlan(templateSet, plan.created_at).plan);
      expect(Object.entries(plan.templates).map(([key, { total_budget }]) => [key, total_budget])).toEqual(
        expect.arrayContaining([
          ["acme_response", 2_000],
          ["acme_compose", 1_000],
        ]),
      );
    });

    it("the first turn's token plan is stored and used by every later turn [C7.3.8, I5.2]", async ({
      stored,
      say,
      gateway,
      orchestrator,
    }) => {
      const { plan } = await stored(id);
      expect(plan?.templates).toHaveProperty("acme_response");
      await say("planned@example.com");
      await gateway.flush();
      expect((await stored(id)).plan).toEqual(plan);
      expect(orchestrator.calls.map(({ adapter }) => adapter.token_plan)).toEqual([plan]);
    });
  });

  it("a session without a token plan gets one with its next turn, and its update time moves [C7.3.9]", async ({
    somebody,
    write,
    gateway,
    stored,
  }) => {
    const session = sessionOf(await somebody());
    await write(answeredTurn(session, { requestId: "r1" }));
    await gateway.database.query("update sessions set updated_at = '2020-01-01' where id = $1", [session.id]);
    expect(await stored(session.id)).toEqual({ plan: null, isFresh: "f" });
    await write(answeredTurn({ ...session, tokenPlan: PLAN }, { requestId: "r2", at: 3_000_000 }));
    expect(await stored(session.id)).toEqual({ plan: PLAN, isFresh: "t" });
  });

  it("an incomplete token plan has warnings, and the user is answered [C7.3.10, I5.3]", async ({ chat, answered }) => {
    const bundle = await chat();
    const { templateSet } = bundle.config;
    const functions = { ...templateSet?.functions, greet: "gone" };
    const config = { ...bundle.config, templateSet: templateSet && { ...templateSet, functions } };
    const { result, lines } = await answered({ tokenPlan: null }, { ...bundle, config });
    expect(result).toMatchObject({ text: "Hi", fallback: false });
    expect(Object.keys(result.tokenPlan?.templates ?? {}).toSorted()).toEqual(["acme_compose", "acme_response"]);
    expect(lines).toMatchObject([{ level: "warn", event: "token_plan_incomplete" }]);
  });
});

describe("a session's token plan", () => {
  it("a token plan and a usage are read of a named conversation only [C7.4.1, C7.6.1]", async ({ ask }) => {
    const { status, body } = await ask("%20/usage");
    expect(status).toBe(400);
    expect(body.error).toMatchObject(invalid("conversation_id"));
  });

  it("a token plan of an unknown session is not found [C7.4.2]", async ({ stats }) => {
    await expect(stats(NOWHERE)).rejects.toMatchObject(missing("conversation", NOWHERE));
  });

  it("a token plan is null before the first turn [C7.4.3]", async ({ somebody, write, stats }) => {
    const session = sessionOf(await somebody());
    await write(answeredTurn(session));
    expect((await stats(session.id)).plan).toBeNull();
  });

  it("a token plan is read as it was made [C7.4.4]", async ({ somebody, write, stats }) => {
    const session = sessionOf(await somebody(), { tokenPlan: PLAN });
    await write(answeredTurn(session));
    expect((await stats(session.id)).plan).toEqual(PLAN);
  });
});

describe("what a turn took", () => {
  it("a usage row without a session becomes a dead letter [C7.5.1]", async ({ somebody, gateway }) => {
    const turn = answeredTurn(sessionOf(await somebody()));
    const lost = { ...turn, session: { ...turn.session, id: null } } as unknown as LedgerEntry;
    const giving = {
      pull: async () => ({ entries: [lost], notices: [], upTo: 1, more: false }),
      confirm: async () => ({ waiting: 0 }),
    } as unknown as Conversation;
    const deps = createTestDeps({ endpoint: gateway.database.endpoint });
    await pullLedger({ ...deps, conversation: () => giving }, ["here"]);
    expect(
      await gateway.database.query("select id from session_token_usage where id = $1", [turn.usage?.id ?? ""]),
    ).toEqual([]);
    const letters = "select payload_json #>> '{usage,totalTokens}' as total from dead_letters where id = $1";
    expect(await gateway.database.query(letters, [lost.id])).toEqual([{ total: "46" }]);
  });

  it("a usage row refers to its session and turn [C7.5.6]", async ({ say, gateway }) => {
    const { session_id, message_id } = (await say("frugal@example.com")).body.data;
    await gateway.flush();
    const rows = await gateway.database.query(
      `select u.brand_id, u.template_key, u.function_name, u.planned_tokens, u.sent_tokens, u.received_tokens,
         u.total_tokens, u.llm_model_id, trim_scale(u.cost_usd) as cost, m.id as reply
       from session_token_usage u join messages m on m.turn_id = u.turn_id and m.role = 'assistant'
       where u.session_id = $1`,
      [session_id],
    );
    expect(rows).toEqual([
      {
        brand_id: ACME,
        template_key: "acme_response",
        function_name: "response",
        planned_tokens: "2000",
        sent_tokens: "1200",
        received_tokens: "340",
        total_tokens: "1540",
        llm_model_id: MODEL,
        cost: "0.000384",
        reply: message_id,
      },
    ]);
  });

  it("a usage is the same before and after it is written [C7.7.1]", async ({ say, stats, gateway }) => {
    const { session_id } = (await say("curious@example.com")).body.data;
    await say("curious@example.com");
    const before = await stats(session_id);
    expect(before.totals).toMatchObject({ turns: 2, totalTokens: 3_080, costUsd: "0.000768" });
    // Written, and its conversation was not told: it is in both places.
    const deps = gateway.deps();
    const untold = (address: string) =>
      ({
        pull: (maxBytes: number) => deps.conversation(address).pull(maxBytes),
        confirm: () => Promise.reject(new Error("The object is away")),
      }) as unknown as Conversation;
    await pullLedger({ ...deps, conversation: untold }, gateway.addresses());
    expect(await stats(session_id)).toEqual(before);
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    expect(await stats(session_id)).toEqual(before);
  });
});

let session: Session;

describe("the tokens of a session of several turns", () => {
  let turns: LedgerEntry[];
  it.beforeAll(async ({ somebody, write, gateway }) => {
    session = sessionOf(await somebody(), { tokenPlan: PLAN });
    const compose = { templateKey: "acme_compose", functionName: "compose", plannedTokens: 1_000 };
    turns = [
      spent(session, 10_000_000, { sentTokens: 100, receivedTokens: 10, totalTokens: 110, costUsd: "0.1" }),
      spent(session, 20_000_000, { ...compose, sentTokens: 200, receivedTokens: 20, totalTokens: 220, costUsd: null }),
      spent(session, 30_000_000, { sentTokens: 300, receivedTokens: 30, totalTokens: 330, costUsd: "0.2" }),
    ];
    const other = sessionOf(session.userId);
    await write(...turns, spent(other, 40_000_000, {}));
    // The middle one is the oldest row, and the first the newest.
    const minutes = [3, 1, 2];
    for (const [index, { usage }] of turns.entries()) {
      await gateway.database.query(
        "update session_token_usage set created_at = '2026-11-22 10:00Z'::timestamptz + $1::interval where id = $2",
        [`${minutes[index]} minutes`, usage?.id ?? ""],
      );
    }
  });

  /** The turns of these numbers, as they are told. */
  const told = (...numbers: number[]) => numbers.map((number) => turns[number]?.usage?.id);
  const idsOf = (list: Record<string, unknown>[]) => list.map(({ id }) => id);

  it("a session's usage is the sum of its turns and of no other session [C7.6.2]", async ({ stats }) => {
    expect((await stats(session.id)).totals).toEqual({
      turns: 3,
      plannedTokens: 5_000,
      sentTokens: 600,
      receivedTokens: 60,
      totalTokens: 660,
      costUsd: "0.3",
    });
  });

  it("a session's usage is grouped by template [C7.6.3]", async ({ stats }) => {
    const { templates } = await stats(session.id);
    expect(templates).toEqual([
      {
        ...{ templateKey: "acme_compose", functionName: "compose", turns: 1, plannedTokens: 1_000 },
        ...{ sentTokens: 200, receivedTokens: 20, totalTokens: 220, costUsd: null },
      },
      {
        ...{ templateKey: "acme_response", functionName: "response", turns: 2, plannedTokens: 4_000 },
        ...{ sentTokens: 400, receivedTokens: 40, totalTokens: 440, costUsd: "0.3" },
      },
    ]);
  });

  it("a session's usage is shown beside its plan [C7.6.4]", async ({ say, ask }) => {
    const planned = (await say("planner@example.com")).body.data.session_id;
    const { data } = (await ask(`${planned}/usage`)).body;
    expect(data.token_plan.templates.acme_response).toMatchObject({ function: "response", total_budget: 2_000 });
    expect(data.templates).toMatchObject([
      { template_key: "acme_response", budget_tokens: 2_000, total_tokens: 1_540 },
    ]);
  });

  it.for([
    ["turn by turn", "C7.8.1", ""],
    ["by one template", "C7.9.1", "?template_key=acme_response"],
  ] as const)("usage records %s are read of a named conversation only [%s]", async ([, , query], { ask }) => {
    const { status, body } = await ask(`%20/usage/records${query}`);
    expect(status).toBe(400);
    expect(body.error).toMatchObject(invalid("conversation_id"));
  });

  it("usage records list each turn of the session and of no other [C7.8.2]", async ({ records }) => {
    const list = await records();
    expect(list).toHaveLength(3);
    expect(new Set(idsOf(list))).toEqual(new Set(told(0, 1, 2)));
    expect(list.find(({ id }) => id === turns[2]?.usage?.id)).toMatchObject({
      template_key: "acme_response",
      sent_tokens: 300,
      received_tokens: 30,
      total_tokens: 330,
      timestamp: "2026-11-22T10:02:00.000Z",
    });
  });

  it("usage records are sorted by time [C7.8.3]", async ({ records }) => {
    expect(idsOf(await records())).toEqual(told(1, 2, 0));
  });

  it("usage records by template need a template key [C7.9.2]", async ({ ask }) => {
    const { status, body } = await ask(`${session.id}/usage/records?template_key=%20`);
    expect(status).toBe(400);
    expect(body.error).toMatchObject(invalid("template_key"));
  });

  it("usage records by template list that template only [C7.9.3]", async ({ records }) => {
    expect(idsOf(await records("?template_key=acme_compose"))).toEqual(told(1));
    expect(await records("?template_key=nobodys")).toEqual([]);
  });

  it("usage records by template are sorted by time [C7.9.4]", async ({ records }) => {
    expect(idsOf(await records("?template_key=acme_response"))).toEqual(told(2, 0));
  });
});
