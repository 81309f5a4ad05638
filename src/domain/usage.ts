import { invalid } from "./errors.ts";
import type { LlmModel } from "./instance.ts";
import { cost } from "./money.ts";
import { isRecord } from "./json.ts";
import { tokenCount } from "./token-plan.ts";

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
