import { describe, expect } from "vitest";
import { ACME, INSTANCE } from "../../support/demo.ts";
import * as stand from "../../support/orchestrator.ts";
import type { OrchestratorCall } from "../../support/orchestrator.ts";
import type { Reply } from "../../support/service.ts";
import { conversationTest } from "../../support/conversation-service.ts";

const it = conversationTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(stand.echo));

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

  it.beforeAll(async ({ orchestrator, say, callOf, written, service }) => {
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

  it("a first message makes a user of the brand [G1.1.2]", async ({ service }) => {
    const users = await service.query("select brand_id, tier from users where id = $1", [reply.body.data.user_id]);
    expect(users).toEqual([{ brand_id: ACME, tier: "standard" }]);
  });

  it("a first message stores both identifiers for the brand and the channel [G1.1.3]", async ({ service }) => {
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

  it("a first message calls the orchestrator once with the turn's idempotency key [G1.1.8]", ({ orchestrator }) => {
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
    it.beforeAll(async ({ orchestrator, say }) => {
      orchestrator.behave(stand.echo);
      next = await say({ content: "Are you there?", user: { phone_e164: phone } });
    });

    it("a second message belongs to the same user [G1.2.1]", () => {
      expect(next.body.data.user_id).toBe(reply.body.data.user_id);
    });

    it("a second message continues the session [G1.2.2]", () => {
      expect(next.body.data.session_id).toBe(reply.body.data.session_id);
    });

    it("a second message uses the session's token plan [G1.2.3]", ({ callOf }) => {
      expect(callOf(next).adapter.token_plan).toEqual(call.adapter.token_plan);
    });

    it("a second message is stored after the first turn [G1.2.4]", async ({ written }) => {
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

    it("a second message reaches the orchestrator with the history", ({ callOf }) => {
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
