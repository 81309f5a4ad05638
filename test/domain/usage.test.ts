import { describe, expect, it } from "vitest";
import type { LlmModel, Template, TemplateSet } from "../../src/domain/instance.ts";
import { usageRecord, type UsageInput } from "../../src/domain/usage.ts";
import { buildTokenPlan, templateBudget } from "../../src/domain/token-plan.ts";

const CREATED = "2026-11-22T12:00:00.000Z";

const model = (changes: Partial<LlmModel> = {}): LlmModel => ({
  id: "m1",
  name: "Fast",
  apiModelName: "fast-1",
  provider: "acme",
  temperature: "0.2",
  inputPricePer1k: "0.0005",
  outputPricePer1k: "0.0015",
  ...changes,
});

const template = (templateKey: string, changes: Partial<Template> = {}): Template => ({
  id: `id-${templateKey}`,
  templateKey,
  name: templateKey,
  sections: [{ name: "system", budget_tokens: 300 }],
  llmModel: model(),
  ...changes,
});

const setOf = (functions: Record<string, unknown>, ...templates: Template[]): TemplateSet => ({
  id: "set",
  name: "Set",
  functions,
  templates: Object.fromEntries(templates.map((each) => [each.templateKey, each])),
});

const temperatureIn = (temperature: string | null) =>
  buildTokenPlan(setOf({ response: "a" }, template("a", { llmModel: model({ temperature }) })), CREATED).plan.templates
    .a?.llm_model?.temperature;

describe("the plan of a conversation", () => {
  it("a token plan has the functions of the template set [C7.1.1]", () => {
    const { plan } = buildTokenPlan(setOf({ response: "a", compose: "b" }, template("a"), template("b")), CREATED);
    expect(Object.values(plan.templates).map((planned) => planned.function)).toEqual(["response", "compose"]);
  });

  it("a token plan has the template of each function [C7.1.2]", () => {
    const { plan } = buildTokenPlan(setOf({ response: "a" }, template("a"), template("unused")), CREATED);
    expect(Object.entries(plan.templates).map(([key, planned]) => [key, planned.template_id])).toEqual([["a", "id-a"]]);
  });

  it("a token plan takes the model from the template [C7.1.3]", () => {
    const own = template("b", { llmModel: model({ id: "m2" }) });
    const { plan } = buildTokenPlan(setOf({ response: "a", compose: "b" }, template("a"), own), CREATED);
    expect([plan.templates.a?.llm_model?.id, plan.templates.b?.llm_model?.id]).toEqual(["m1", "m2"]);
  });

  it("a token plan takes the budget from the template's sections [C7.1.4]", () => {
    const sections = [{ budget_tokens: 100 }, { budget_tokens: 20 }];
    const { plan } = buildTokenPlan(setOf({ response: "a" }, template("a", { sections })), CREATED);
    expect(plan.templates.a?.total_budget).toBe(120);
  });

  it("a token plan has this shape and its creation time [C7.1.5]", () => {
    expect(buildTokenPlan(setOf({ response: "a" }, template("a")), CREATED)).toEqual({
      plan: {
        templates: {
          a: {
            function: "response",
            template_id: "id-a",
            sections: [{ name: "system", budget_tokens: 300 }],
            total_budget: 300,
            llm_model: expect.any(Object),
          },
        },
        created_at: CREATED,
      },
      warnings: [],
    });
  });

  it("a token plan has the model's call parameters and no price [C7.1.6]", () => {
    const { plan } = buildTokenPlan(setOf({ response: "a" }, template("a")), CREATED);
    expect(plan.templates.a?.llm_model).toEqual({
      id: "m1",
      name: "Fast",
      api_model_name: "fast-1",
      provider: "acme",
      temperature: 0.2,
    });
  });

  it.each([["gone"], ["constructor"], [7], [null]])(
    "a token plan is made without a missing template, with a warning: %j [C7.1.7]",
    (key) => {
      const { plan, warnings } = buildTokenPlan(setOf({ compose: key, response: "a" }, template("a")), CREATED);
      expect([Object.keys(plan.templates), warnings]).toEqual([["a"], [expect.stringContaining("compose")]]);
    },
  );

  it("a token plan is made without a missing model, with a warning [C7.1.8]", () => {
    const { plan, warnings } = buildTokenPlan(setOf({ response: "a" }, template("a", { llmModel: null })), CREATED);
    expect([plan.templates.a?.llm_model, warnings]).toEqual([null, [expect.stringContaining("no model")]]);
  });

  it("a token plan without functions is empty [C7.1.9]", () => {
    expect(buildTokenPlan(setOf({}, template("a")), CREATED).plan).toEqual({ templates: {}, created_at: CREATED });
  });

  it.each<[string, string | null, number, string, string]>([
    ["that isn't set is 0.7", null, 0.7, "C7.1.10", "I3.1"],
    ["in decimals is that number", "0.35", 0.35, "C7.1.11", "I3.2"],
    ["of 0.0 is 0, not unset", "0.0", 0, "C7.1.12", "I3.3"],
  ])("a temperature %s (%j, %d) [%s, %s]", (_, set, planned) => {
    expect(temperatureIn(set)).toBe(planned);
  });

  it.each([[""], ["warm"], ["NaN"]])("a temperature that is no number is 0.7: %j", (set) => {
    expect(temperatureIn(set)).toBe(0.7);
  });

  it("a token plan lists a shared template once, under its first function", () => {
    const { plan, warnings } = buildTokenPlan(setOf({ response: "a", compose: "a" }, template("a")), CREATED);
    expect([plan.templates.a?.function, warnings]).toEqual(["response", []]);
  });
});

describe("the budget of a template", () => {
  it("a budget is the sum of the template's sections [C7.2.1]", () => {
    expect(templateBudget([{ budget_tokens: 100 }, { budget_tokens: 250 }, { name: "free" }]).total_budget).toBe(350);
  });

  it("a budget lists its sections [C7.2.2]", () => {
    expect(
      templateBudget([{ name: "system", budget_tokens: 100, content: "You are" }, { budget_tokens: "50" }]),
    ).toEqual({
      sections: [
        { name: "system", budget_tokens: 100 },
        { name: "section_2", budget_tokens: 50 },
      ],
      total_budget: 150,
      warnings: [],
    });
  });

  it.each([["text"], [null], [7], [["list"]]])(
    "a budget ignores an invalid section with a warning: %j [C7.2.3]",
    (section) => {
      const { sections, total_budget, warnings } = templateBudget([section, { budget_tokens: 5 }]);
      expect([sections.length, total_budget, warnings.length]).toEqual([1, 5, 1]);
    },
  );

  it.each([["many"], [Number.NaN], [true], [{}], [-5], [1e300], [""]])(
    "a section with an invalid budget counts as 0: %j [C7.2.4]",
    (budget) => {
      const { sections, total_budget } = templateBudget([{ name: "a", budget_tokens: budget }, { budget_tokens: 5 }]);
      expect([sections[0], total_budget]).toEqual([{ name: "a", budget_tokens: 0 }, 5]);
    },
  );

  it.each([[[]], [null], [undefined]])("a template without sections has the budget 0: %j [C7.2.5]", (sections) => {
    expect(templateBudget(sections)).toEqual({ sections: [], total_budget: 0, warnings: [] });
  });

  it("a template with sections that are no list has the budget 0 and a warning", () => {
    expect(templateBudget({ system: { budget_tokens: 5 } })).toMatchObject({
      total_budget: 0,
      warnings: [expect.any(String)],
    });
  });
});

describe("what is kept of it", () => {
  const input = (changes: Partial<UsageInput> = {}): UsageInput => ({
    templateKey: "support",
    functionName: "response",
    plannedTokens: 300,
    usage: { prompt_in: 500, completion_out: 108 },
    model: model(),
    ...changes,
  });

  it.each<[string, Partial<UsageInput>, string]>([
    ["template_key", { templateKey: " " }, "C7.5.2"],
    ["function_name", { functionName: "" }, "C7.5.3"],
  ])("a usage row is refused without a %s (%j) [%s]", (field, changes) => {
    expect(() => usageRecord(input(changes))).toThrow(
      expect.objectContaining({ code: "VALIDATION_ERROR", details: { fields: [expect.objectContaining({ field })] } }),
    );
  });

  it.each([[-1], [Number.NaN], [1e12]])("an invalid count in a usage row is 0 with a warning: %d [C7.5.4]", (count) => {
    const { record, warnings } = usageRecord(input({ usage: { prompt_in: count, completion_out: 7 } }));
    expect([record.sentTokens, record.totalTokens, warnings]).toEqual([0, 7, [expect.stringContaining("sent_tokens")]]);
  });

  it("a usage row has a cost only when the model is known [C7.5.5]", () => {
    expect([usageRecord(input()).record.costUsd, usageRecord(input({ model: null })).record.costUsd]).toEqual([
      "0.000412",
      null,
    ]);
  });

  it("a usage row has planned, sent, received and total tokens [C7.5.7]", () => {
    expect(usageRecord(input()).record).toMatchObject({
      plannedTokens: 300,
      sentTokens: 500,
      receivedTokens: 108,
      totalTokens: 608,
    });
  });

  it("a usage row has the model and its prices of that day [C7.5.8]", () => {
    expect(usageRecord(input()).record).toMatchObject({
      llmModelId: "m1",
      inputPricePer1k: "0.0005",
      outputPricePer1k: "0.0015",
      costUsd: "0.000412",
    });
  });

  it("a usage row of a model without a price is kept without a cost [C7.5.9]", () => {
    const { record } = usageRecord(input({ model: model({ outputPricePer1k: null }) }));
    expect([record.costUsd, record.totalTokens]).toEqual([null, 608]);
  });
});
