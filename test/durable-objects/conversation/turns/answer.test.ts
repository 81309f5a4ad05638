import { describe, expect, vi } from "vitest";
import type { AdapterInput } from "../../../../src/domain/adapter.ts";
import { MAX_RUNS } from "../../../../src/domain/turn.ts";
import { answerTurn } from "../../../../durable-objects/conversation/turns/answer.ts";
import { demoBundle } from "../../../support/bundle.ts";
import { ACME_KEY, INSTANCE } from "../../../support/demo.ts";
import { createTestDeps } from "../../../support/deps.ts";
import {
  answerWith,
  breakOff,
  drip,
  echo,
  endless,
  garbage,
  hang,
  packed,
  redirect,
  reset,
} from "../../../support/orchestrator.ts";
import type { Behaviour } from "../../../support/orchestrator.ts";
import { gatewayTest } from "../../../support/fixtures.ts";

const SORRY = "Sorry";

const it = gatewayTest()
  .extend("env", { scope: "file" }, ({ orchestrator }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    ORCHESTRATOR_TIMEOUT_MS: "150",
    RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
  }))
  /** One run, by the client a deploy has; what it gave, and what it logged. */
  .extend(
    "run",
    { scope: "file" },
    ({ orchestrator }) =>
      async ({ env, input = question(), fence = 1, signal = new AbortController().signal }: Options = {}) => {
        const deps = createTestDeps({ env: { ORCHESTRATOR_URL: orchestrator.url, ...env } });
        if (deps.orchestrator === null) throw new Error("There is nobody to ask");
        const turn = { turnId: "turn-1", fence };
        const result = await answerTurn({ ...deps, orchestrator: deps.orchestrator }, { turn, adapter: input, signal });
        return { result, lines: deps.lines };
      },
  )
  /** The adapter as it came over the wire. */
  .extend("asked", { scope: "file" }, ({ run, orchestrator }) => async (changes: Partial<AdapterInput> = {}) => {
    await run({ input: question(changes) });
    return orchestrator.calls[0]?.adapter ?? {};
  })
  /** Somebody new says something; what they were answered, after everything has been written. */
  .extend("say", { scope: "file" }, ({ gateway }) => async (changes: Record<string, unknown> = {}) => {
    const message = {
      instance_id: INSTANCE.chat,
      request_id: "r1",
      content: "Hello",
      user: { device_id: crypto.randomUUID() },
    };
    const { status, body } = await gateway.send("POST", "/web/messages", { ...message, ...changes });
    expect(status).toBe(200);
    await gateway.flush();
    return body.data;
  });
it.beforeEach(({ orchestrator }) => {
  orchestrator.behave(echo);
  orchestrator.calls.splice(0);
});

const question = (changes: Partial<AdapterInput> = {}): AdapterInput => ({
  bundle: demoBundle(),
  user: { id: "user-1", tier: "standard" },
  session: { id: "session-1", startedAt: 1_000, lastMessageAt: 2_000, tokenPlan: null },
  message: { id: "message-1", content: "Hello", channel: "web", metadata: {} },
  history: [],
  traceId: "trace-1",
  authState: "identified",
  now: 3_000,
  ...changes,
});

type Options = {
  env?: Record<string, string>;
  input?: AdapterInput;
  fence?: number;
  signal?: AbortSignal;
};

describe("what the orchestrator is asked", () => {
  it("a call to the orchestrator names the session and the user [B2.3.1]", async ({ asked }) => {
    expect(await asked()).toMatchObject({ session_id: "session-1", user_id: "user-1", is_guest: false });
  });

  it("a call to the orchestrator holds the unescaped message and the history [B2.3.2]", async ({ asked }) => {
    const content = "Is 1 < 2 & 'so on'? 👋🏽";
    const history = [{ role: "user", content: "Hi" } as const, { role: "assistant", content: "Hi there" } as const];
    const adapter = await asked({ message: { id: "m", content, channel: "web", metadata: { page: 7 } }, history });
    expect(adapter.message).toEqual({
      sender_user_id: "user-1",
      content,
      channel: "web",
      message_id: "m",
      metadata: { page: 7 },
    });
    expect(adapter.history).toEqual(history);
  });

  it("a call to the orchestrator names the instance [B2.3.3]", async ({ asked }) => {
    const { instance } = demoBundle();
    expect((await asked()).routing).toEqual({ brand_id: instance.brandId, instance_id: instance.id });
  });

  it("a call to the orchestrator names the template set and the template [B2.3.4]", async ({ asked }) => {
    expect(await asked()).toMatchObject({
      template: { id: "00000000-0000-4000-8000-0000000000a1", json: { response: "reply" } },
      plan_key: "reply",
    });
  });

  it("a call to the orchestrator names the template's model and provider [B2.3.5]", async ({ asked }) => {
    expect(await asked()).toMatchObject({ model: "small-1", llm_runtime: "acme" });
  });

  it("a call to the orchestrator holds the session's token plan or a new one [B2.3.6]", async ({
    asked,
    orchestrator,
  }) => {
    const made = await asked();
    expect(made.token_plan.templates.reply).toMatchObject({ function: "response", total_budget: 100 });
    const tokenPlan = { templates: {}, created_at: "2026-01-01T00:00:00.000Z" };
    orchestrator.calls.splice(0);
    expect((await asked({ session: { ...question().session, tokenPlan } })).token_plan).toEqual(tokenPlan);
  });

  it("a call to the orchestrator states how the user was identified and their permissions [B2.3.7]", async ({
    asked,
    orchestrator,
  }) => {
    const known = await asked();
    orchestrator.calls.splice(0);
    const guest = await asked({ user: { id: "user-2", tier: "guest" }, authState: "guest" });
    expect([known.policy, guest.policy]).toEqual([
      { auth_state: "identified", can_call_tools: true, can_write_memory: true, allow_pii_output: false },
      { auth_state: "guest", can_call_tools: false, can_write_memory: false, allow_pii_output: false },
    ]);
  });

  it.for([
    ["a session", { session: { ...question().session, id: "" } }],
    ["a user", { user: { id: "", tier: "standard" } }],
    ["any words", { message: { ...question().message, content: "" } }],
  ] as const)("the orchestrator is never called without %s [B2.3.8]", async ([, changes], { run, orchestrator }) => {
    await expect(run({ input: question(changes) })).rejects.toMatchObject({ code: "VALIDATION_ERROR", status: 400 });
    expect(orchestrator.calls).toEqual([]);
  });

  it("a call to the orchestrator holds no secret at any depth [B2.3.9]", async ({ asked }) => {
    const metadata = { password: "s3cret", deep: [{ api_key: "s3cret", Authorization: "s3cret", kept: 1 }] };
    const adapter = await asked({ message: { ...question().message, metadata } });
    expect(adapter.message.metadata).toEqual({ deep: [{ kept: 1 }] });
    expect(JSON.stringify(adapter)).not.toContain("s3cret");
  });

  it("a call to the orchestrator has the turn's id as its idempotency key", async ({ run, orchestrator }) => {
    await run({ env: { ORCHESTRATOR_TOKEN: "its-token" } });
    expect(orchestrator.calls[0]?.headers).toMatchObject({
      "idempotency-key": "turn-1",
      "x-trace-id": "trace-1",
      authorization: "Bearer its-token",
      "content-type": "application/json",
    });
  });
});

describe("an answer", () => {
  it("an answer is returned and kept with its token usage [B2.4.3]", async ({ orchestrator, run }) => {
    const answer = { text: "Hi!", mood: "good", token_usage: { prompt_tokens: 12, completion_tokens: 34 } };
    orchestrator.behave(answerWith(answer));
    const { result, lines } = await run();
    expect(result).toMatchObject({
      text: "Hi!",
      fallback: false,
      tokenUsage: { prompt_in: 12, completion_out: 34, total: 46, cost_usd: "0.0222" },
      usage: { templateKey: "reply", functionName: "response", plannedTokens: 100, costUsd: "0.0222" },
      metadata: { orchestrator_response: { text: "Hi!", mood: "good" } },
    });
    expect(lines).toEqual([]);
  });

  it("an empty answer becomes the default reply and its usage is counted", async ({ orchestrator, run }) => {
    orchestrator.behave(answerWith({ text: " ", usage: { input_tokens: 1000, output_tokens: 0 } }));
    const { result } = await run();
    expect(result).toMatchObject({ text: SORRY, fallback: true, usage: { sentTokens: 1000, costUsd: "0.15" } });
  });
});

const FALLBACK = { text: SORRY, fallback: true, usage: null, metadata: {} };

/** Good headers and the beginning of a good answer, and no more. */
const stall: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json" });
  response.write('{"text": "I was about to');
};

describe("an orchestrator that fails", () => {
  // With 30 seconds to answer in: none of these is waited for.
  it.for<[string, Behaviour, string]>([
    ["answers 500", answerWith({ text: "no" }, 500), "answered 500"],
    ["answers 404", answerWith({ text: "no" }, 404), "answered 404"],
    ["hangs up", reset, ""],
    ["hangs up in the middle of its answer", breakOff, ""],
    ["says what is no JSON", garbage, "JSON"],
    ["says nothing at all", (_call, response) => void response.writeHead(200).end(), "JSON"],
    ["sends us elsewhere", redirect, "answered 302"],
    ["never stops talking", endless, "larger than"],
    ["says little that unfolds to more than it may say", packed, "larger than"],
  ] as const)(
    "the user gets the default reply when the orchestrator %s [B2.4.4]",
    async ([, behaviour, reason], { orchestrator, run }) => {
      orchestrator.behave(behaviour);
      const { result, lines } = await run();
      expect(result).toMatchObject(FALLBACK);
      const line = lines.find(({ event }) => event === "orchestrator_failed");
      expect(line).toMatchObject({ level: "error", trace_id: "trace-1", turn_id: "turn-1" });
      expect(JSON.stringify(line?.error)).toContain(reason);
      expect(orchestrator.calls).toHaveLength(1);
    },
  );

  it("the user gets the default reply when no orchestrator listens", async ({ run }) => {
    const { result } = await run({ env: { ORCHESTRATOR_URL: "http://127.0.0.1:9/" } });
    expect(result).toMatchObject(FALLBACK);
  });

  it.for<[string, Behaviour]>([
    ["says nothing", hang],
    ["begins and says no more", stall],
    ["says one character after the other", drip],
  ] as const)(
    "a call is cut off at its timeout when the orchestrator %s [B2.4.5]",
    async ([, behaviour], { orchestrator, run }) => {
      const closed = Promise.withResolvers<void>();
      orchestrator.behave((call, response) => {
        response.on("close", closed.resolve);
        return behaviour(call, response);
      });
      const { result, lines } = await run({ env: { ORCHESTRATOR_TIMEOUT_MS: "150" } });
      expect(result).toMatchObject(FALLBACK);
      expect(JSON.stringify(lines)).toContain("No answer within 150 ms");
      await closed.promise;
    },
  );

  it("a call has 30 seconds unless configured otherwise [B2.9.1]", async ({ orchestrator, run }) => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const arrived = Promise.withResolvers<void>();
      orchestrator.behave(() => arrived.resolve());
      let isOver = false;
      const running = run().finally(() => {
        isOver = true;
      });
      await arrived.promise;
      await vi.advanceTimersByTimeAsync(29_999);
      expect(isOver).toBe(false);
      vi.advanceTimersByTime(1);
      expect((await running).result).toMatchObject(FALLBACK);
    } finally {
      vi.useRealTimers();
    }
  });

  it("a call is cut off when its run is replaced", async ({ orchestrator, run }) => {
    const abort = new AbortController();
    orchestrator.behave(() => abort.abort(new Error("The run was replaced")));
    expect((await run({ signal: abort.signal })).result).toMatchObject(FALLBACK);
  });

  it("a run after too many crashed ones does not call the orchestrator", async ({ run, orchestrator }) => {
    const { result, lines } = await run({ fence: MAX_RUNS + 1 });
    expect([result, orchestrator.calls]).toMatchObject([FALLBACK, []]);
    expect(lines).toMatchObject([{ event: "turn_abandoned", runs: MAX_RUNS + 1 }]);
  });
});

describe("a development machine without an orchestrator", () => {
  const alone = { ORCHESTRATOR_URL: "" };

  it("a development machine without an orchestrator answers by a mock [B2.4.1]", async ({ run }) => {
    const { result } = await run({ env: alone });
    expect(result).toMatchObject({ text: "You said: Hello", fallback: false, usage: { costUsd: expect.any(String) } });
  });

  it("the mock warns on each call and names the setting to use [B2.4.7]", async ({ run }) => {
    const { lines } = await run({ env: alone });
    expect(lines).toEqual([
      expect.objectContaining({
        level: "warn",
        event: "mock_orchestrator",
        trace_id: "trace-1",
        message: expect.stringMatching(/DEPRECATED.*ORCHESTRATOR_URL.*502/),
      }),
    ]);
  });
});

describe("from the person to the record", () => {
  it("the usage of a turn is stored once, at the prices of the day [B2.6.4]", async ({
    orchestrator,
    say,
    gateway,
  }) => {
    orchestrator.behave(answerWith({ text: "Hi", usage: { prompt_tokens: 1_200, completion_tokens: 340 } }));
    const { session_id, token_usage } = await say();
    const rows = await gateway.database.query(
      `select template_key, function_name, planned_tokens, sent_tokens, received_tokens, total_tokens, input_price_per_1k,
        output_price_per_1k, trim_scale(cost_usd) as cost_usd from session_token_usage where session_id = $1`,
      [session_id],
    );
    // 1.2 x 0.00015 + 0.34 x 0.0006
    expect(rows).toEqual([
      {
        template_key: "acme_response",
        function_name: "response",
        planned_tokens: "2000",
        sent_tokens: "1200",
        received_tokens: "340",
        total_tokens: "1540",
        input_price_per_1k: expect.stringMatching(/^0\.000150*$/),
        output_price_per_1k: expect.stringMatching(/^0\.00060*$/),
        cost_usd: "0.000384",
      },
    ]);
    expect(token_usage).toEqual({ prompt_in: 1_200, completion_out: 340, total: 1_540, cost_usd: "0.000384" });
  });

  it("a turn that timed out has no known cost and still has an answer", async ({ orchestrator, say, gateway }) => {
    orchestrator.behave(hang);
    const answer = await say();
    const usage = await gateway.database.query("select id from session_token_usage where session_id = $1", [
      answer.session_id,
    ]);
    const [config] = await gateway.database.query("select default_reply from instance_configs where instance_id = $1", [
      INSTANCE.chat,
    ]);
    expect([answer.text, answer.fallback, answer.token_usage.cost_usd, usage]).toEqual([
      config?.["default_reply"],
      true,
      null,
      [],
    ]);
  });

  it("a default reply is marked with fallback in the model's next history", async ({ orchestrator, say }) => {
    orchestrator.behave(answerWith({ nothing: true }));
    const user = { device_id: "device-of-ann" };
    const { text } = await say({ user, request_id: "r1" });
    orchestrator.behave(answerWith({ text: "Hi" }));
    await say({ user, request_id: "r2" });
    await say({ user, request_id: "r3" });
    expect(
      orchestrator.calls.at(-1)?.adapter.history.filter(({ role }: { role: string }) => role === "assistant"),
    ).toEqual([
      { role: "assistant", content: text, fallback: true },
      { role: "assistant", content: "Hi" },
    ]);
  });

  it("the metadata of client and model are stored without secrets [B2.2.3]", async ({ orchestrator, say, gateway }) => {
    orchestrator.behave(answerWith({ text: "Hi", debug: { api_key: "s3cret", kept: 1 } }));
    const { session_id } = await say({
      metadata: { page: 7, password: "s3cret", deep: { access_token: "s3cret", list: [1] } },
    });
    const rows = await gateway.database.query("select metadata_json from messages where session_id = $1 order by seq", [
      session_id,
    ]);
    const [said, replied] = rows.map((row) => JSON.parse(row["metadata_json"] ?? ""));
    expect(said).toEqual({ channel: "web", page: 7, deep: { list: [1] } });
    expect(replied).toMatchObject({ channel: "web", orchestrator_response: { text: "Hi", debug: { kept: 1 } } });
    const everything = await gateway.database.query(
      "select string_agg(m::text, '') as text from (select metadata_json from messages union all select metadata_json from idempotency_locks) m",
    );
    expect(everything[0]?.["text"]).not.toContain("s3cret");
  });

  it("a message for a missing session is refused and not stored [B2.1.4]", async ({ gateway }) => {
    const id = "00000000-0000-8000-b000-0000000000cc";
    const before = await gateway.database.query("select count(*) from messages");
    const { status, body } = await gateway.send(
      "POST",
      `/api/v1/conversations/${id}/messages`,
      { role: "user", content: "Hello" },
      ACME_KEY,
    );
    await gateway.flush();
    expect([status, body.error.code, body.error.details]).toEqual([
      404,
      "RESOURCE_NOT_FOUND",
      { resource_type: "conversation", resource_id: id },
    ]);
    expect(await gateway.database.query("select count(*) from messages")).toEqual(before);
  });
});
