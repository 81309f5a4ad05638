import type { LlmModel, TemplateSet } from "./instance.ts";
import { isRecord } from "./json.ts";

/** Token budgets of a session's templates, fixed when the session is planned. Field names are the API's. */
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

/**
 * The budget of a template: the sum of its sections' `budget_tokens`. `sections` is unvalidated JSON: a section that is no
 * object is skipped and an invalid budget counts as 0, each with a warning.
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

/** null means not set (0.7 is used); "0.0" is a temperature. */
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
 * Plans a session: budget and model of each function's template. Never refuses: a missing template is skipped and a
 * missing model is null, each with a warning. For functions that share a template, the first is named.
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

/** A count of tokens, rounded down; null for a negative, excessive or non-numeric value. */
export function tokenCount(value: unknown): number | null {
  const count = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof count === "number" && count >= 0 && count <= MAX_TOKENS ? Math.floor(count) : null;
}

/** More than any model processes at once, so a higher count is an error. Two of them fit a Postgres integer. */
export const MAX_TOKENS = 1_000_000_000;
