import { invalid } from "./errors.ts";
import type { LlmModel } from "./instance.ts";
import { cost } from "./money.ts";
import type { TokenUsage } from "./reported-usage.ts";
import { tokenCount } from "./token-plan.ts";

/** The usage of one turn: planned, sent and received tokens, and their cost at the price of that day. */
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
 * The usage of a turn as it is stored. A count that `tokenCount` refuses becomes 0 with a warning; the cost is null without
 * a model or a price. Refuses (400) a blank template key or function name.
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
