import { describe, expect, it } from "vitest";
import {
  type AdapterInput,
  buildAdapter,
  primaryFunction,
  sanitizeAdapter,
  validateAdapter,
} from "../../src/domain/adapter.ts";
import type { InstanceConfig, LlmModel, PolicySettings, TemplateSet } from "../../src/domain/instance.ts";

const NOW = Date.UTC(2026, 10, 22, 12);

const model = (changes: Partial<LlmModel> = {}): LlmModel => ({
  id: "m1",
  name: "Fast",
  apiModelName: "fast-1",
  provider: "acme",
  temperature: null,
  inputPricePer1k: null,
  outputPricePer1k: null,
  ...changes,
});

const templateSet = (functions: Record<string, unknown>, llmModel: LlmModel | null = model()): TemplateSet => ({
  id: "set",
  name: "Set",
  functions,
  templates: Object.fromEntries(
    ["a", "b", "c"].map((key) => [
      key,
      { id: `id-${key}`, templateKey: key, name: key, sections: [{ name: "s", budget_tokens: 10 }], llmModel },
    ]),
  ),
});

const config = (changes: Partial<InstanceConfig> = {}): InstanceConfig => ({
  id: "config",
  defaultReply: "Sorry",
  sessionTimeoutMinutes: null,
  routingPlanKey: "gold",
  policy: {},
  templateSet: templateSet({ response: "a" }),
  ...changes,
});

const instance = {
  id: "instance",
  brandId: "brand",
  name: "Web",
  channel: "web",
  recipientNumber: null,
  phoneNumberId: null,
  acceptGuestUsers: true,
} as const;

const inputWith = (settings: InstanceConfig | null, changes: Partial<AdapterInput> = {}): AdapterInput => ({
  bundle: { instance, config: settings },
  user: { id: "user", tier: "standard" },
  session: { id: "session", startedAt: NOW - 60_000, lastMessageAt: NOW - 1000, tokenPlan: null },
  message: { id: "message", content: "Where is <my> order?", channel: "web", metadata: { page: "/orders" } },
  history: [
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Hello" },
  ],
  traceId: "trace",
  authState: "identified",
  now: NOW,
  ...changes,
});
const input = (changes: Partial<AdapterInput> = {}) => inputWith(config(), changes);
const build = (given: AdapterInput = input()) => buildAdapter(given).adapter;
const withModel = (changes: Partial<LlmModel> | null) =>
  inputWith(config({ templateSet: templateSet({ response: "a" }, changes && model(changes)) }));

const refusal = (field: string) =>
  expect.objectContaining({
    code: "VALIDATION_ERROR",
    status: 400,
    details: { fields: [expect.objectContaining({ field })] },
  });
/** What no type lets through, as a row of JSON or an RPC might bring it. */
const without = (...path: string[]): AdapterInput => {
  const given: AdapterInput = structuredClone(input());
  const last = path.pop() ?? "";
  const parent = path.reduce<object>((at, key) => Reflect.get(at, key), given);
  Reflect.deleteProperty(parent, last);
  return given;
};

describe("a message on its way to the orchestrator", () => {
  it.each([
    ["session", ["session"], "D.1.1"],
    ["user", ["user"], "D.1.2"],
    ["instance", ["bundle", "instance"], "D.1.3"],
    ["message", ["message"], "D.1.4"],
  ])("an adapter is refused without its %s (at %j) [%s]", (field, path) => {
    expect(() => buildAdapter(without(...path))).toThrow(refusal(field));
  });

  it("an adapter depends on its parameters alone and leaves them unchanged [D.1.5]", () => {
    const given = input();
    const before = structuredClone(given);
    const first = buildAdapter(given);
    expect([buildAdapter(given), given]).toEqual([first, before]);
  });

  it("an adapter follows the instance's routing plan [D.1.6]", () => {
    const routingPlanOf = (routingPlanKey: string | null) =>
      build(inputWith(config({ routingPlanKey })))._meta.routing_plan_key;
    expect([routingPlanOf("gold"), routingPlanOf(null)]).toEqual(["gold", "instance:response"]);
  });

  it.each([
    ["guest", "guest"],
    ["standard", "verified"],
    ["verified", "verified"],
  ] as const)("an adapter states the tier of a %s user: %s [D.1.7]", (tier, userType) => {
    expect(build(input({ user: { id: "user", tier } })).user_type).toBe(userType);
  });

  it("an adapter states the real channel, whatever the metadata claims [D.1.8]", () => {
    const message = { ...input().message, channel: "whatsapp", metadata: { channel: "voice" } } as const;
    expect(build(input({ message })).message.channel).toBe("whatsapp");
  });

  it("an adapter holds the template set of the instance's configuration [D.1.9]", () => {
    expect(
      build(inputWith(config({ templateSet: { ...templateSet({ compose: "b" }), id: "other" } }))).template,
    ).toEqual({
      id: "other",
      json: { compose: "b" },
    });
  });

  it("an adapter is refused without a template set [D.1.10]", () => {
    expect(() => build(inputWith(config({ templateSet: null })))).toThrow(refusal("template_set"));
  });

  it("an adapter is refused when the template set has no functions [D.1.11]", () => {
    expect(() => build(inputWith(config({ templateSet: templateSet({}) })))).toThrow(refusal("template_set"));
  });

  it("an adapter of an instance without a configuration is refused as not found", () => {
    expect(() => build(inputWith(null))).toThrow(
      expect.objectContaining({
        code: "RESOURCE_NOT_FOUND",
        details: { resource_type: "config", resource_id: "instance" },
      }),
    );
  });

  it.each([
    [{ first: "c", compose: "b", response: "a" }, "response", "id-a"],
    [{ first: "c", compose: "b" }, "compose", "id-b"],
    [{ first: "c", second: "b" }, "first", "id-c"],
  ])(
    "an adapter is answered by response, then compose, then the first function: %j %s [D.1.12]",
    (functions, name, id) => {
      const primary = primaryFunction(templateSet(functions));
      expect([primary.name, primary.template.id]).toEqual([name, id]);
    },
  );

  it.each([["gone"], ["constructor"], [7]])(
    "an adapter is refused when the function's template is missing: %j [D.1.13]",
    (key) => {
      expect(() => build(inputWith(config({ templateSet: templateSet({ response: key, compose: "b" }) })))).toThrow(
        refusal("template"),
      );
    },
  );

  it.each<[string, Partial<LlmModel> | null, string, string]>([
    ["without a model", null, "llm_model", "D.1.14"],
    ["when the model has no name to call it by", { apiModelName: null }, "api_model_name", "D.1.15"],
    ["when the model has no provider", { provider: null }, "provider", "D.1.16"],
  ])("an adapter is refused %s (%j, %s) [%s]", (_, changes, field) => {
    expect(() => build(withModel(changes))).toThrow(refusal(field));
  });

  it.each<[string, Partial<LlmModel>, string, string, string]>([
    ["the model's name is empty", { apiModelName: "" }, "api_model_name", "D.1.22", "I2.1"],
    ["the provider is empty", { provider: "" }, "provider", "D.1.23", "I2.2"],
    ["the model's name is blank", { apiModelName: " \t" }, "api_model_name", "D.1.24", "I2.3"],
  ])("an adapter is refused when %s (%j, %s) [%s, %s]", (_, changes, field) => {
    expect(() => build(withModel(changes))).toThrow(refusal(field));
  });

  it("an adapter is refused when the provider is blank [I2.4]", () => {
    expect(() => build(withModel({ provider: " \n" }))).toThrow(refusal("provider"));
  });

  it("the times of an adapter have a time zone [D.1.17]", () => {
    expect(build().session_context).toEqual({
      started_at: "2026-11-22T11:59:00.000Z",
      last_message_at: "2026-11-22T11:59:59.000Z",
    });
  });

  it("an adapter holds the session's token plan, or a new one with its warnings [D.1.18]", () => {
    const planned = { ...input().session, tokenPlan: { templates: {}, created_at: "2026-01-01T00:00:00.000Z" } };
    const fresh = buildAdapter(inputWith(config({ templateSet: templateSet({ response: "a", compose: "gone" }) })));
    expect([build(input({ session: planned })).token_plan, fresh.adapter.token_plan, fresh.warnings]).toEqual([
      planned.tokenPlan,
      { templates: { a: expect.objectContaining({ total_budget: 10 }) }, created_at: "2026-11-22T12:00:00.000Z" },
      [expect.stringContaining("compose")],
    ]);
  });

  it("an adapter gets a new token plan when the session has none", () => {
    const unplanned: AdapterInput = { ...input(), session: { ...input().session, tokenPlan: JSON.parse("{}") } };
    expect(Object.keys(build(unplanned).token_plan.templates)).toEqual(["a"]);
  });

  it("an adapter has exactly these fields [D.1.19]", () => {
    expect(Object.keys(build()).toSorted()).toEqual(
      [
        "session_id",
        "session_context",
        "user_id",
        "is_guest",
        "user_type",
        "message",
        "history",
        "routing",
        "template",
        "model",
        "llm_runtime",
        "token_plan",
        "plan_key",
        "policy",
        "trace_id",
        "_meta",
      ].toSorted(),
    );
  });

  it("an adapter holds no secrets of its sender [D.1.20]", () => {
    const message = { ...input().message, content: "hi\0\u202e", metadata: { login: { password: "x" }, a: " b " } };
    expect(build(input({ message })).message).toMatchObject({ content: "hi", metadata: { login: {}, a: "b" } });
  });

  it("an adapter is validated before it is sent [D.1.21]", () => {
    expect(() => build(input({ traceId: "" }))).toThrow(refusal("trace_id"));
  });

  it("the content of an adapter is not HTML-escaped", () => {
    expect(build().message.content).toBe("Where is <my> order?");
  });

  it("the history of an adapter is the newest part of a long conversation, in order and bounded", () => {
    const said = (count: number, content: (index: number) => string) =>
      Array.from({ length: count }, (_, index) => ({ role: "user" as const, content: content(index) }));
    const many = build(input({ history: said(150, String) })).history;
    const long = build(input({ history: said(100, (index) => `${index} ${"ü".repeat(9000)}`) })).history;
    expect([many.length, many[0]?.content, many.at(-1)?.content]).toEqual([100, "50", "149"]);
    expect([long.length, long.at(-1)?.content.slice(0, 3)]).toEqual([29, "99 "]);
  });
});

describe("what the orchestrator reads", () => {
  it.each([
    ["which conversation it is", "session_id", "session", "D.2.1"],
    [
      "since when, and when it was last heard of",
      "session_context",
      { started_at: "2026-11-22T11:59:00.000Z", last_message_at: "2026-11-22T11:59:59.000Z" },
      "D.2.2",
    ],
    ["who speaks", "user_id", "user", "D.2.3"],
    ["that they are no guest", "is_guest", false, "D.2.4"],
    ["what they are to it", "user_type", "verified", "D.2.5"],
    [
      "what they say",
      "message",
      {
        sender_user_id: "user",
        content: "Where is <my> order?",
        channel: "web",
        message_id: "message",
        metadata: { page: "/orders" },
      },
      "D.2.6",
    ],
    ["to whom", "routing", { brand_id: "brand", instance_id: "instance" }, "D.2.7"],
    ["the template set and its functions", "template", { id: "set", json: { response: "a" } }, "D.2.8"],
    ["the model's name at its provider", "model", "fast-1", "D.2.9"],
    ["the provider", "llm_runtime", "acme", "D.2.10"],
    [
      "what may be spent",
      "token_plan",
      expect.objectContaining({ templates: { a: expect.objectContaining({ function: "response" }) } }),
      "D.2.11",
    ],
    ["what it is counted against", "plan_key", "a", "D.2.12"],
    [
      "what it may do",
      "policy",
      { auth_state: "identified", can_call_tools: true, can_write_memory: true, allow_pii_output: false },
      "D.2.13",
    ],
    ["how to find it in the logs", "trace_id", "trace", "D.2.14"],
    [
      "when and how it was built",
      "_meta",
      { build_time: "2026-11-22T12:00:00.000Z", adapter_version: "1.0", routing_plan_key: "gold" },
      "D.2.15",
    ],
  ] satisfies [string, string, unknown, string][])(
    "the adapter's content is %s for %s (%j) [%s]",
    (_, field, value) => {
      expect(Reflect.get(build(), field)).toEqual(value);
    },
  );

  it("the adapter's history is ordered from oldest to newest", () => {
    expect(build().history).toEqual(input().history);
  });
});

describe("what a person may make the model do", () => {
  const policyOf = (tier: "guest" | "standard", policy: PolicySettings) => {
    const { auth_state: _, ...grants } = build(inputWith(config({ policy }), { user: { id: "user", tier } })).policy;
    return Object.entries(grants).flatMap(([grant, granted]) => (granted ? [grant] : []));
  };

  it("a guest has no permissions", () => {
    expect(policyOf("guest", {})).toEqual([]);
  });

  it("a user has the permissions the instance grants to their tier", () => {
    const policy: PolicySettings = { guest: { can_call_tools: true }, verified: { can_write_memory: false } };
    expect([policyOf("guest", policy), policyOf("standard", policy)]).toEqual([["can_call_tools"], ["can_call_tools"]]);
  });

  it("a permission counts only when it is a boolean", () => {
    const settings: unknown = { guest: { can_call_tools: "false", allow_pii_output: 1 }, verified: null };
    expect(policyOf("guest", settings as PolicySettings)).toEqual([]);
  });
});

describe("an adapter that isn't one", () => {
  const broken = (changes: Record<string, unknown>) => ({ ...build(), ...changes });

  it.each(Object.keys(build()))("an adapter without %s is invalid [D.3.1]", (field) => {
    const { [field]: _, ...rest }: Record<string, unknown> = build();
    expect(() => validateAdapter(rest)).toThrow(refusal(field));
  });

  it.each([["text"], [null], [["list"]]])("an adapter with the message %j is invalid [D.3.2]", (message) => {
    expect(() => validateAdapter(broken({ message }))).toThrow(refusal("message"));
  });

  it.each([[undefined], [""], [7]])("an adapter with the content %j is invalid [D.3.3]", (content) => {
    expect(() => validateAdapter(broken({ message: { ...build().message, content } }))).toThrow(
      refusal("message.content"),
    );
  });

  it.each([["text"], [null], [["list"]]])("an adapter with the routing %j is invalid [D.3.4]", (routing) => {
    expect(() => validateAdapter(broken({ routing }))).toThrow(refusal("routing"));
  });

  it("an adapter without an instance is invalid [D.3.5]", () => {
    expect(() => validateAdapter(broken({ routing: { brand_id: "brand" } }))).toThrow(refusal("routing.instance_id"));
  });

  it("an adapter is valid up to 1 MB and refused above [D.3.6]", () => {
    const filled = (bytes: number) => broken({ template: { id: "set", json: { a: "x".repeat(bytes) } } });
    const room = 1_048_576 - JSON.stringify(filled(0)).length;
    expect(validateAdapter(filled(room)).template.id).toBe("set");
    expect(() => validateAdapter(filled(room + 1))).toThrow(refusal("adapter"));
  });
});

describe("an adapter that leaves the house", () => {
  it("a redacted adapter holds no secret at any depth and keeps its token plan [D.4.1]", () => {
    const given = {
      password: "1",
      token_plan: { token: "2", total_budget: 3 },
      message: { metadata: [{ secret: "4" }] },
    };
    expect(sanitizeAdapter(given)).toEqual({ token_plan: { total_budget: 3 }, message: { metadata: [{}] } });
  });

  it("a redacted adapter has no string over 10,000 characters [D.4.2]", () => {
    expect(sanitizeAdapter({ a: { b: "x".repeat(10_001) } })).toEqual({ a: { b: "x".repeat(10_000) } });
  });

  it("a redacted adapter has no object with more than 100 entries [D.4.3]", () => {
    const many = Object.fromEntries(Array.from({ length: 101 }, (_, index) => [`k${index}`, index]));
    expect(Object.keys(sanitizeAdapter({ many }).many ?? {})).toHaveLength(100);
  });
});
