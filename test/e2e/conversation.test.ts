import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ACME, INSTANCE } from "../support/demo.ts";
import * as stand from "../support/orchestrator.ts";
import type { OrchestratorCall, OrchestratorStandIn } from "../support/orchestrator.ts";
import { startService } from "../support/service.ts";
import type { Reply, Service } from "../support/service.ts";

const ORCHESTRATOR_TIMEOUT_MS = 1_500;
const DEFAULT_REPLY = "Sorry, I can't answer right now. Please try again in a moment.";
const UUID = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

let orchestrator: OrchestratorStandIn;
let service: Service;

beforeAll(async () => {
  orchestrator = await stand.startOrchestrator();
  service = await startService({
    env: { ORCHESTRATOR_URL: orchestrator.url, ORCHESTRATOR_TIMEOUT_MS: String(ORCHESTRATOR_TIMEOUT_MS) },
  });
});
beforeEach(() => orchestrator.behave(stand.echo));
afterAll(async () => {
  await service?.stop();
  await orchestrator?.close();
});

const message = (otherwise: Record<string, unknown> = {}) => ({
  instance_id: INSTANCE.chat,
  request_id: randomUUID(),
  content: "Hello",
  user: { device_id: randomUUID() },
  ...otherwise,
});
const say = (otherwise: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
  service.say("/api/messages", message(otherwise), headers);
const callOf = (reply: Reply): OrchestratorCall => {
  const call = orchestrator.calls.find(({ adapter }) => adapter.trace_id === reply.headers.get("X-Trace-ID"));
  if (call === undefined) throw new Error("The orchestrator was not called");
  return call;
};

/** One row of a table by its session, once the ledger has written it. */
async function written(table: string, sessionId: string, count = 1): Promise<Record<string, string | null>[]> {
  return vi.waitFor(
    async () => {
      const rows = await service.query(`select * from ${table} where session_id = $1 order by created_at`, [sessionId]);
      expect(rows).toHaveLength(count);
      return rows;
    },
    { timeout: 15_000, interval: 100 },
  );
}

describe("somebody new says something", () => {
  const phone = "+14155550123";
  const email = "new@example.com";
  const request_id = "first-contact";
  const trace_id = "trace-of-the-first-contact";
  let reply: Reply;
  let call: OrchestratorCall;
  let session: Record<string, string | null>;
  let spoken: Record<string, string | null>[];
  let usage: Record<string, string | null>;
  let lock: Record<string, string | null>;

  beforeAll(async () => {
    orchestrator.behave(stand.echo);
    reply = await say(
      { request_id, content: "Hello, Acme", user: { phone_e164: phone, email }, metadata: { page: "/prices" } },
      { "X-Trace-ID": trace_id },
    );
    call = callOf(reply);
    const { session_id } = reply.body.data;
    spoken = await written("messages", session_id, 2);
    [usage = {}] = await written("session_token_usage", session_id);
    [lock = {}] = await written("idempotency_locks", session_id);
    [session = {}] = await service.query("select * from sessions where id = $1", [session_id]);
  });

  it("a first message with phone number and e-mail address is answered [G1.1.1]", () => {
    expect(reply.status).toBe(200);
  });

  it("a first message makes a user of the brand [G1.1.2]", async () => {
    const users = await service.query("select brand_id, tier from users where id = $1", [reply.body.data.user_id]);
    expect(users).toEqual([{ brand_id: ACME, tier: "standard" }]);
  });

  it("a first message stores both identifiers for the brand and the channel [G1.1.3]", async () => {
    const rows = await service.query(
      "select identifier_type, identifier_value, brand_id, channel from user_identifiers where user_id = $1 order by 1",
      [reply.body.data.user_id],
    );
    const here = { brand_id: ACME, channel: "api" };
    expect(rows).toEqual([
      { identifier_type: "email", identifier_value: email, ...here },
      { identifier_type: "phone_e164", identifier_value: phone, ...here },
    ]);
  });

  it("a first message opens a session [G1.1.4]", () => {
    expect(session).toMatchObject({
      user_id: reply.body.data.user_id,
      instance_id: INSTANCE.chat,
      brand_id: ACME,
      channel: "api",
      expired_at: null,
    });
  });

  it("a first message makes the session's token plan [G1.1.5]", () => {
    expect(JSON.parse(session["token_plan_json"] ?? "null").templates).toHaveProperty("acme_response");
  });

  it("a first message is stored with request id and trace id [G1.1.6]", () => {
    expect(spoken[0]).toMatchObject({
      id: reply.body.data.inbound_message_id,
      role: "user",
      content: "Hello, Acme",
      user_id: reply.body.data.user_id,
      request_id,
      trace_id,
      processed: "t",
    });
    expect(JSON.parse(spoken[0]?.["metadata_json"] ?? "null")).toEqual({ page: "/prices", channel: "api" });
  });

  it("a first message reaches the orchestrator with exactly the documented data [G1.1.7]", () => {
    const { user_id, session_id, inbound_message_id } = reply.body.data;
    const time = expect.stringMatching(/^\d{4}-\d{2}-\d{2}T[\d:.]+(Z|\+00:00)$/);
    const model = {
      id: "00000000-0000-4000-8000-000000000102",
      name: "Acme small model",
      api_model_name: "demo-model",
      provider: "openai",
      temperature: 0.2,
    };
    expect(call.adapter).toEqual({
      session_id,
      session_context: { started_at: time, last_message_at: time },
      user_id,
      is_guest: false,
      user_type: "verified",
      message: {
        sender_user_id: user_id,
        content: "Hello, Acme",
        channel: "api",
        message_id: inbound_message_id,
        metadata: { page: "/prices" },
      },
      history: [],
      routing: { brand_id: ACME, instance_id: INSTANCE.chat },
      template: {
        id: "00000000-0000-4000-8000-000000000103",
        json: { response: "acme_response", compose: "acme_compose" },
      },
      model: "demo-model",
      llm_runtime: "openai",
      token_plan: {
        created_at: time,
        templates: {
          acme_response: {
            function: "response",
            template_id: "00000000-0000-4000-8000-000000000104",
            sections: [
              { name: "system", budget_tokens: 400 },
              { name: "history", budget_tokens: 1200 },
              { name: "user", budget_tokens: 400 },
            ],
            total_budget: 2000,
            llm_model: model,
          },
          acme_compose: {
            function: "compose",
            template_id: "00000000-0000-4000-8000-000000000105",
            sections: [
              { name: "system", budget_tokens: 300 },
              { name: "facts", budget_tokens: 700 },
            ],
            total_budget: 1000,
            llm_model: model,
          },
        },
      },
      plan_key: "acme_response",
      policy: { auth_state: "identified", can_call_tools: true, can_write_memory: true, allow_pii_output: false },
      trace_id,
      _meta: {
        build_time: time,
        adapter_version: "1.0",
        routing_plan_key: `${INSTANCE.chat}:response`,
      },
    });
  });

  it("a first message calls the orchestrator once with the turn's idempotency key [G1.1.8]", () => {
    expect(orchestrator.calls.filter(({ adapter }) => adapter.trace_id === trace_id)).toHaveLength(1);
    expect(call.headers).toMatchObject({ "idempotency-key": lock["turn_id"], "x-trace-id": trace_id });
  });

  it("a first message's reply is stored after it [G1.1.9]", () => {
    expect(spoken[1]).toMatchObject({
      id: reply.body.data.message_id,
      role: "assistant",
      content: "echo: Hello, Acme",
      user_id: null,
      request_id,
      trace_id,
    });
  });

  it("a first message's cost is stored [G1.1.10]", () => {
    expect(usage).toMatchObject({ template_key: "acme_response", function_name: "response", planned_tokens: "2000" });
  });

  it("a first message is answered in the orchestrator's words [G1.1.11]", () => {
    expect(reply.body.data).toMatchObject({ text: "echo: Hello, Acme", fallback: false, is_guest: false });
  });

  it("a first message's answer is kept for a repeated request", () => {
    expect(lock["brand_id"]).toBe(ACME);
    expect(JSON.parse(lock["metadata_json"] ?? "null").cached_response).toEqual(reply.body.data);
  });

  describe("and says something else", () => {
    let next: Reply;
    beforeAll(async () => {
      orchestrator.behave(stand.echo);
      next = await say({ content: "Are you there?", user: { phone_e164: phone } });
    });

    it("a second message belongs to the same user [G1.2.1]", () => {
      expect(next.body.data.user_id).toBe(reply.body.data.user_id);
    });

    it("a second message continues the session [G1.2.2]", () => {
      expect(next.body.data.session_id).toBe(reply.body.data.session_id);
    });

    it("a second message uses the session's token plan [G1.2.3]", () => {
      expect(callOf(next).adapter.token_plan).toEqual(call.adapter.token_plan);
    });

    it("a second message is stored after the first turn [G1.2.4]", async () => {
      const rows = await written("messages", reply.body.data.session_id, 4);
      expect(rows.map(({ role, content }) => [role, content])).toEqual([
        ["user", "Hello, Acme"],
        ["assistant", "echo: Hello, Acme"],
        ["user", "Are you there?"],
        ["assistant", "echo: Are you there?"],
      ]);
    });

    it("a second message is answered [G1.2.5]", () => {
      expect(next).toMatchObject({ status: 200, body: { data: { text: "echo: Are you there?" } } });
    });

    it("a second message reaches the orchestrator with the history", () => {
      expect(callOf(next).adapter.history).toEqual([
        { role: "user", content: "Hello, Acme" },
        { role: "assistant", content: "echo: Hello, Acme" },
      ]);
    });
  });

  describe("within a budget of tokens", () => {
    it("a token budget is planned for every template of the set [G1.10.1]", () => {
      expect(Object.keys(JSON.parse(session["token_plan_json"] ?? "{}").templates).toSorted()).toEqual([
        "acme_compose",
        "acme_response",
      ]);
    });

    it("a token budget is the sum of its sections [G1.10.2]", () => {
      const { sections, total_budget } = call.adapter.token_plan.templates.acme_response;
      expect(total_budget).toBe(sections.reduce((sum: number, section: any) => sum + section.budget_tokens, 0));
    });

    it("a token budget is compared with the usage the orchestrator reported [G1.10.3]", () => {
      expect(usage).toMatchObject({ sent_tokens: "12", received_tokens: "34", total_tokens: "46" });
    });

    it("a token cost follows the model's prices: 12 x 0.00015 and 34 x 0.0006 per thousand [G1.10.4]", () => {
      expect(usage).toMatchObject({
        cost_usd: "0.0000222",
        input_price_per_1k: "0.00015",
        output_price_per_1k: "0.0006",
      });
    });
  });
});

describe("a request that comes again", () => {
  const body = message({ content: "Only once, please" });
  let replies: Reply[];
  beforeAll(async () => {
    const { behaviour, open } = stand.gate();
    orchestrator.behave(behaviour);
    const both = [service.say("/api/messages", body), service.say("/api/messages", body)];
    // One of them is told at once; the other only when there is an answer.
    await Promise.race(both);
    open();
    replies = await Promise.all(both);
  });

  it("a repeated request is processed once [G1.3.1]", async () => {
    expect(replies.map(({ status }) => status)).toContain(200);
    expect(orchestrator.calls.filter(({ adapter }) => adapter.message.content === body.content)).toHaveLength(1);
  });

  it("a repeated request gets the first answer afterwards [G1.3.2]", async () => {
    const first = replies.find(({ status }) => status === 200);
    const again = await service.say("/api/messages", body);
    expect(again).toMatchObject({ status: 409, body: { error: { details: { state: "completed" } } } });
    expect(again.body.error.details.cached_response).toEqual(first?.body.data);
  });

  it("a repeated request is told that the first one is running [G1.3.3, G2.10.1]", () => {
    const other = replies.find(({ status }) => status !== 200);
    expect(other).toMatchObject({ status: 409, body: { error: { details: { state: "in_progress" } } } });
  });
});

describe("a guest", () => {
  let reply: Reply;
  beforeAll(async () => {
    orchestrator.behave(stand.echo);
    reply = await say({ content: "I am nobody", user: undefined });
  });

  it("a message without identifiers is accepted from a guest [G1.6.1]", () => {
    expect(callOf(reply).adapter.message.content).toBe("I am nobody");
  });

  it("a guest is accepted by an instance with guests [G1.6.2]", () => {
    expect(reply).toMatchObject({ status: 200, body: { data: { is_guest: true } } });
  });

  it("a guest is a user with the guest tier [G1.6.3]", async () => {
    const users = await service.query("select brand_id, tier from users where id = $1", [reply.body.data.user_id]);
    expect(users).toEqual([{ brand_id: ACME, tier: "guest" }]);
  });

  it("a guest has a session of their own [G1.6.4]", async () => {
    const sessions = await service.query("select user_id from sessions where id = $1", [reply.body.data.session_id]);
    expect(sessions).toEqual([{ user_id: reply.body.data.user_id }]);
  });

  it("a guest is answered with a guest's permissions [G1.6.5]", () => {
    expect(reply.body.data.text).toBe("echo: I am nobody");
    expect(callOf(reply).adapter).toMatchObject({ user_type: "guest", policy: { can_call_tools: false } });
  });

  it("a guest who repeats a request is the same guest", async () => {
    const body = message({ user: undefined });
    const first = await service.say("/api/messages", body);
    const again = await service.say("/api/messages", body);
    expect(again.body.error.details.cached_response).toEqual(first.body.data);
  });

  it.each([
    ["in the body", (token: string) => [{ user: { auth_token: token } }, {}] as const],
    ["as a bearer", (token: string) => [{ user: undefined }, { Authorization: `Bearer ${token}` }] as const],
  ])("a guest continues the conversation with the returned token, %s", async (_title, how) => {
    const [otherwise, headers] = how(reply.body.data.guest_token);
    const next = await say({ content: "It is me again", ...otherwise }, headers);
    const { user_id, session_id } = reply.body.data;
    expect(next.body.data).toMatchObject({ user_id, session_id, is_guest: true });
    expect(callOf(next).adapter.history).toContainEqual({ role: "user", content: "I am nobody" });
  });
});

describe("where guests are not accepted", () => {
  const rejected = () => say({ user: undefined, instance_id: INSTANCE.guestless });

  it("a message without identifiers reaches an instance without guests [G1.7.1]", async () => {
    expect((await rejected()).body.error.code).toBe("UNAUTHORIZED");
  });

  it("an instance without guests makes no user for it [G1.7.2]", async () => {
    const guests = () => service.query("select count(*) from users where tier = 'guest'");
    const before = await guests();
    await rejected();
    expect(await guests()).toEqual(before);
  });

  it("an instance without guests refuses the message [G1.7.3]", async () => {
    expect((await rejected()).status).toBe(401);
  });
});

describe("one phone number, two brands", () => {
  const user = { phone_e164: "+15005550006" };
  let acme: Reply;
  let globex: Reply;
  beforeAll(async () => {
    orchestrator.behave(stand.echo);
    acme = await say({ user, content: "Only for Acme" });
    globex = await say({ user, instance_id: INSTANCE.globex });
  });

  it("a phone number is a user of the first brand [G1.8.1]", async () => {
    expect((await say({ user })).body.data.user_id).toBe(acme.body.data.user_id);
  });

  it("a phone number is a user of the second brand [G1.8.2]", async () => {
    expect((await say({ user, instance_id: INSTANCE.globex })).body.data.user_id).toBe(globex.body.data.user_id);
  });

  it("a phone number is two users at two brands, and their conversations stay apart [G1.8.3]", () => {
    expect(globex.body.data.user_id).not.toBe(acme.body.data.user_id);
    expect(JSON.stringify(callOf(globex).adapter)).not.toContain("Only for Acme");
  });
});

describe("a message that can't be answered here", () => {
  it.each([
    ["G2.1.1", "nobody has made", INSTANCE.unknown, "instance"],
    ["G2.2.1", "is switched off", INSTANCE.inactive, "instance"],
    ["G2.3.1", "has no configuration", INSTANCE.unconfigured, "config"],
  ])("a message to an instance that $1 is 404 [$0]", async (_id, _title, instance_id, resource_type) => {
    const reply = await say({ instance_id });
    expect(reply).toMatchObject({
      status: 404,
      body: { error: { code: "RESOURCE_NOT_FOUND", details: { resource_type, resource_id: instance_id } } },
    });
  });

  /** An instance of Acme's whose one function is answered by this template. */
  async function instanceAnsweringWith(templateKey: string): Promise<string> {
    const [instance, set] = [randomUUID(), randomUUID()];
    await service.query("insert into template_sets (id, brand_id, name, functions_json) values ($1, $2, 'x', $3)", [
      set,
      ACME,
      JSON.stringify({ response: templateKey }),
    ]);
    await service.query(
      "insert into instances (id, brand_id, name, channel, accept_guest_users) values ($1, $2, 'x', 'api', true)",
      [instance, ACME],
    );
    await service.query("insert into instance_configs (instance_id, template_set_id) values ($1, $2)", [instance, set]);
    return instance;
  }

  it("a message without a template is refused before the orchestrator is called [G2.4.1]", async () => {
    const content = randomUUID();
    const reply = await say({ instance_id: await instanceAnsweringWith("nowhere"), content });
    expect(reply).toMatchObject({ status: 400, body: { error: { code: "VALIDATION_ERROR" } } });
    expect(orchestrator.calls.filter(({ adapter }) => adapter.message.content === content)).toEqual([]);
  });

  it("a message without a model is refused with the missing field [G2.5.1, A5.3.1, A5.3.2, A5.3.3]", async () => {
    await service.query("insert into templates (brand_id, template_key, name) values ($1, 'modelless', 'x')", [ACME]);
    const reply = await say({ instance_id: await instanceAnsweringWith("modelless") });
    expect(reply.body.error.code).toBe("VALIDATION_ERROR");
    expect(reply.status).toBe(400);
    expect(reply.body.error.details.fields[0].field).toBe("llm_model");
    expect(reply.body.error.details.fields[0].message).toContain("model");
  });
});

describe("an orchestrator in trouble", () => {
  const replyTo = async (behaviour: stand.Behaviour) => {
    orchestrator.behave(behaviour);
    return say();
  };

  it("an orchestrator past its timeout gives the default reply [G2.6.1]", async () => {
    const reply = await replyTo(stand.hang);
    expect(reply.body.data).toMatchObject({ text: DEFAULT_REPLY, fallback: true });
  });

  it("an orchestrator that fails gives the default reply [G2.7.1]", async () => {
    const reply = await replyTo(stand.answerWith({ error: "boom" }, 500));
    expect(reply.body.data).toMatchObject({ text: DEFAULT_REPLY, fallback: true });
  });

  it.each([
    ["hangs up", stand.reset],
    ["breaks off in the middle", stand.breakOff],
    ["says what is no JSON", stand.garbage],
    ["sends elsewhere", stand.redirect],
    ["never stops dripping", stand.drip],
    ["never stops talking", stand.endless],
    ["says nothing", stand.answerWith({})],
    ["answers with a list", stand.answerWith([1, 2])],
  ])("an orchestrator that %s gives the default reply, and the conversation continues", async (_title, behaviour) => {
    const user = { device_id: randomUUID() };
    orchestrator.behave(behaviour);
    const reply = await say({ user });
    expect(reply).toMatchObject({ status: 200, body: { data: { text: DEFAULT_REPLY, fallback: true } } });
    orchestrator.behave(stand.echo);
    expect((await say({ user, content: "And now?" })).body.data.text).toBe("echo: And now?");
  });

  it("an orchestrator's endless response is cut off before the timeout", async () => {
    const reply = await replyTo(stand.endless);
    const trace_id = reply.headers.get("X-Trace-ID");
    const failure = await vi.waitFor(() => {
      const line = service.log().find((line) => line.event === "orchestrator_failed" && line.trace_id === trace_id);
      if (line === undefined) throw new Error("Nothing was said");
      return line;
    });
    expect(failure.error.message).toMatch(/larger than \d+ bytes/);
  });

  it("a default reply is stored without usage", async () => {
    const reply = await replyTo(stand.reset);
    const { session_id, message_id } = reply.body.data;
    const [, answer] = await written("messages", session_id, 2);
    expect(answer).toMatchObject({ id: message_id, role: "assistant", content: DEFAULT_REPLY });
    expect(await written("session_token_usage", session_id, 0)).toEqual([]);
  });

  it("a repeated request after a default reply does not call the orchestrator again", async () => {
    orchestrator.behave(stand.garbage);
    const body = message();
    const first = await service.say("/api/messages", body);
    orchestrator.behave(stand.echo);
    const again = await service.say("/api/messages", body);
    expect(again.body.error.details.cached_response).toEqual(first.body.data);
  });
});

describe("somebody who says a lot at once", () => {
  it("concurrent messages of one user are answered one after the other", async () => {
    const user = { device_id: randomUUID() };
    await say({ user });
    orchestrator.behave(stand.after(50));
    const words = ["one", "two", "three", "four", "five"];
    const [first] = await Promise.all(words.map((content) => say({ user, content })));
    const { session_id } = first?.body.data ?? {};
    const asked = orchestrator.calls.filter(({ adapter }) => adapter.session_id === session_id).slice(1);
    // Each run knew the answers to all that was admitted before it, so none began before the last had ended.
    expect(asked.map(({ adapter }) => adapter.history.length)).toEqual([2, 4, 6, 8, 10]);
  });
});

it("a turn whose caller disconnected is completed and stored", async () => {
  const user = { device_id: randomUUID() };
  const request_id = randomUUID();
  const body = message({ user, request_id, content: `gone ${request_id}` });
  orchestrator.behave(stand.after(400));
  const leaving = new AbortController();
  const left = service.request("/api/messages", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  await vi.waitUntil(() => orchestrator.calls.some(({ adapter }) => adapter.message.content === body.content));
  leaving.abort();
  await expect(left).rejects.toThrow(/abort/i);
  const again = await vi.waitFor(async () => {
    const reply = await service.say("/api/messages", body);
    expect(reply.body.error.details.state).toBe("completed");
    return reply;
  });
  expect(again.body.error.details.cached_response).toMatchObject({ message_id: UUID, text: `echo: ${body.content}` });
});
