import { invalid } from "./errors.ts";
import type { LlmModel, TemplateSet } from "./instance.ts";
import { cost } from "./money.ts";
import { isRecord } from "./sanitize.ts";

/** What a session's templates may spend, fixed when the session is planned. Field names are the wire's. */
export type TokenPlan = {
  templates: Record<string, PlannedTemplate>;
  /** ISO 8601 */
  created_at: string;
};

export type PlannedTemplate = {
  function: string;
  template_id: string;
  sections: PlannedSection[];
  total_budget: number;
  llm_model: PlannedModel | null;
};

export type PlannedSection = { name: string; budget_tokens: number };

export type PlannedModel = {
  id: string;
  name: string;
  api_model_name: string | null;
  provider: string | null;
  temperature: number;
};

const DEFAULT_TEMPERATURE = 0.7;

/** More than any model reads or writes at once; a count above it is a fault, and two of them still fit a Postgres integer. */
const MAX_TOKENS = 1_000_000_000;

/** A count of tokens, rounded down; null for what can't be one: negative, not a number, absurdly many. */
function tokenCount(value: unknown): number | null {
  const count = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof count === "number" && count >= 0 && count <= MAX_TOKENS ? Math.floor(count) : null;
}

/**
 * The budget of a template: the sum of its sections' `budget_tokens`. `sections` is JSON somebody edited: a section that
 * is no object is left out, a budget that is no count is 0, each with a warning.
 */
export function templateBudget(sections: unknown): {
  sections: PlannedSection[];
  total_budget: number;
  warnings: string[];
} {
  const warnings: string[] = [];
  const planned: PlannedSection[] = [];
  if (!Array.isArray(sections)) {
    if (sections !== null && sections !== undefined) warnings.push("sections is not a list");
    return { sections: planned, total_budget: 0, warnings };
  }
  for (const [index, section] of sections.entries()) {
    if (!isRecord(section)) {
      warnings.push(`section ${index + 1} is not an object: skipped`);
      continue;
    }
    const name = typeof section.name === "string" ? section.name : `section_${index + 1}`;
    const budget = tokenCount(section.budget_tokens ?? 0);
    if (budget === null) warnings.push(`section ${name}: budget_tokens is not a count of tokens, 0 is used`);
    planned.push({ name, budget_tokens: budget ?? 0 });
  }
  return {
    sections: planned,
    total_budget: planned.reduce((sum, { budget_tokens }) => sum + budget_tokens, 0),
    warnings,
  };
}

/** null is "not set" and means 0.7; "0.0" is a temperature. */
function temperatureOf(model: LlmModel): number {
  const temperature = Number.parseFloat(model.temperature ?? "");
  return Number.isFinite(temperature) ? temperature : DEFAULT_TEMPERATURE;
}

const planModel = (model: LlmModel): PlannedModel => ({
  id: model.id,
  name: model.name,
  api_model_name: model.apiModelName,
  provider: model.provider,
  temperature: temperatureOf(model),
});

/**
 * The plan of a session: for each function of the set its template's budget and model. Never refuses: a template that
 * is missing is skipped and a model that is missing is null, each with a warning. Of functions that share a template
 * the first is named.
 */
export function buildTokenPlan(set: TemplateSet, createdAtIso: string): { plan: TokenPlan; warnings: string[] } {
  const warnings: string[] = [];
  const templates = new Map<string, PlannedTemplate>();
  for (const [name, key] of Object.entries(set.functions)) {
    const template = typeof key === "string" && Object.hasOwn(set.templates, key) ? set.templates[key] : undefined;
    if (template === undefined) {
      warnings.push(`function ${name}: its template does not exist, skipped`);
      continue;
    }
    if (templates.has(template.templateKey)) continue;
    const budget = templateBudget(template.sections);
    warnings.push(...budget.warnings.map((warning) => `template ${template.templateKey}: ${warning}`));
    if (template.llmModel === null) warnings.push(`template ${template.templateKey} has no model`);
    templates.set(template.templateKey, {
      function: name,
      template_id: template.id,
      sections: budget.sections,
      total_budget: budget.total_budget,
      llm_model: template.llmModel === null ? null : planModel(template.llmModel),
    });
  }
  return { plan: { templates: Object.fromEntries(templates), created_at: createdAtIso }, warnings };
}

/** What an orchestrator says a turn took. Field names are the API's; `total` is the sum of the two. */
export type TokenUsage = { prompt_in: number; completion_out: number; total: number };

const USAGE_FIELDS = {
  prompt_in: ["prompt_in", "prompt_tokens", "input_tokens"],
  completion_out: ["completion_out", "completion_tokens", "output_tokens"],
} as const;

/**
 * The usage in an orchestrator's answer, under `token_usage` or `usage`, in Parley's names or those of the two families
 * of model APIs. A count that can't be one is 0. null when nothing was reported, which isn't the same as 0.
 */
export function extractUsage(response: unknown): TokenUsage | null {
  if (!isRecord(response)) return null;
  for (const reported of [response.token_usage, response.usage]) {
    if (!isRecord(reported)) continue;
    const read = (names: readonly string[]): unknown =>
      names.map((name) => reported[name]).find((value) => value != null);
    const [sent, received] = [read(USAGE_FIELDS.prompt_in), read(USAGE_FIELDS.completion_out)];
    if (sent === undefined && received === undefined) continue;
    const prompt_in = tokenCount(sent) ?? 0;
    const completion_out = tokenCount(received) ?? 0;
    return { prompt_in, completion_out, total: prompt_in + completion_out };
  }
  return null;
}

/** One row of the ledger of tokens: what was planned, what went out and came back, and what it cost at that day's price. */
export type UsageRecord = {
  templateKey: string;
  functionName: string;
  plannedTokens: number;
  sentTokens: number;
  receivedTokens: number;
  totalTokens: number;
  llmModelId: string | null;
  /** USD per 1,000 tokens, decimal strings, copied so that a later price changes no past cost. */
  inputPricePer1k: string | null;
  outputPricePer1k: string | null;
  /** USD; null when a price is missing. */
  costUsd: string | null;
};

export type UsageInput = {
  templateKey: string;
  functionName: string;
  plannedTokens: number;
  usage: Pick<TokenUsage, "prompt_in" | "completion_out">;
  model: LlmModel | null;
};

/**
 * What a turn took, as it is kept. Negative and absurd counts become 0 with a warning; without a model, or without a
 * price that is needed, the cost is null. Refuses (400) a blank template key or function name.
 */
export function usageRecord(input: UsageInput): { record: UsageRecord; warnings: string[] } {
  if (!input.templateKey?.trim()) throw invalid("template_key", "template_key is required");
  if (!input.functionName?.trim()) throw invalid("function_name", "function_name is required");
  const warnings: string[] = [];
  const count = (name: string, value: number): number => {
    const tokens = tokenCount(value);
    if (tokens === null) warnings.push(`${name} is not a count of tokens, 0 is used`);
    return tokens ?? 0;
  };
  const planned = count("planned_tokens", input.plannedTokens);
  const sent = count("sent_tokens", input.usage.prompt_in);
  const received = count("received_tokens", input.usage.completion_out);
  const { model } = input;
  const record: UsageRecord = {
    templateKey: input.templateKey,
    functionName: input.functionName,
    plannedTokens: planned,
    sentTokens: sent,
    receivedTokens: received,
    totalTokens: sent + received,
    llmModelId: model?.id ?? null,
    inputPricePer1k: model?.inputPricePer1k ?? null,
    outputPricePer1k: model?.outputPricePer1k ?? null,
    costUsd: model === null ? null : cost(model, { promptIn: sent, completionOut: received }),
  };
  return { record, warnings };
}
