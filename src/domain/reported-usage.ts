import { isRecord } from "./json.ts";
import { tokenCount } from "./token-plan.ts";

/** The usage an orchestrator reports for a turn. Field names are the API's; `total` is the sum of the two. */
export type TokenUsage = { prompt_in: number; completion_out: number; total: number };

type Reported = Record<string, unknown>;

/** Where usage is reported: Parley, OpenAI and Anthropic, LangChain and Gemini (snake and camel case), AI SDK. */
const USAGE_FIELDS = ["token_usage", "totalUsage", "usage", "usage_metadata", "usageMetadata", "tokenUsage"];
/** Objects of an answer that may hold them instead. */
const HOLDERS = ["message", "response_metadata", "response"];

const PROMPT = [
  ...["prompt_in", "prompt_tokens", "input_tokens", "inputTokens", "promptTokens"],
  ...["promptTokenCount", "prompt_token_count"],
];
const COMPLETION = [
  ...["completion_out", "completion_tokens", "output_tokens", "outputTokens", "completionTokens"],
  ...["candidatesTokenCount", "candidates_token_count"],
];
const TOTAL = ["total", "total_tokens", "totalTokens", "totalTokenCount", "total_token_count"];

/** Counts beside the two: Anthropic and Bedrock report cached prompt tokens apart, Gemini reasoning and tool prompts. */
const ANTHROPIC_CACHE = ["cache_read_input_tokens", "cache_creation_input_tokens"];
const BEDROCK_CACHE = ["cacheReadInputTokens", "cacheWriteInputTokens"];
const BESIDE: Readonly<Record<string, readonly string[]>> = {
  input_tokens: ANTHROPIC_CACHE,
  inputTokens: BEDROCK_CACHE,
  promptTokenCount: ["toolUsePromptTokenCount"],
  prompt_token_count: ["tool_use_prompt_token_count"],
  candidatesTokenCount: ["thoughtsTokenCount"],
  candidates_token_count: ["thoughts_token_count"],
};

/**
 * The usage in an orchestrator's answer; null when none is reported, which is not a usage of 0. A count that
 * `tokenCount` refuses is 0, with a warning; so is usage without a known count.
 */
export function extractUsage(response: unknown): { usage: TokenUsage | null; warnings: string[] } {
  const reported = usageObjects(response);
  const known = reported.find((usage) => nameIn(usage, PROMPT) !== null || nameIn(usage, COMPLETION) !== null);
  if (known !== undefined) return readUsage(known);
  if (reported.length === 0) return { usage: null, warnings: [] };
  const hasTotal = reported.some((usage) => nameIn(usage, TOTAL) !== null);
  return {
    usage: null,
    warnings: [hasTotal ? "the usage has only a total: not recorded" : "the usage has no known count: not recorded"],
  };
}

function usageObjects(response: unknown): Reported[] {
  // Of a list of messages the last one is the answer.
  if (Array.isArray(response)) return usageObjects(response.at(-1) ?? null);
  if (!isRecord(response)) return [];
  const { messages } = response;
  const last: unknown = Array.isArray(messages) ? messages.at(-1) : null;
  const holders = [response, ...HOLDERS.map((name) => response[name]), last].filter(isRecord);
  return holders.flatMap((holder) => USAGE_FIELDS.map((field) => holder[field]).filter(isRecord));
}

function readUsage(reported: Reported): { usage: TokenUsage; warnings: string[] } {
  const warnings: string[] = [];
  const count = (name: string): number => {
    // The AI SDK's providers report an object with a total.
    const value = reported[name];
    const tokens = tokenCount(isRecord(value) ? value.total : value);
    if (tokens === null) warnings.push(`the usage's ${name} is not a count of tokens, 0 is used`);
    return tokens ?? 0;
  };
  const sum = (name: string | null): number => {
    if (name === null) return 0;
    const beside = (BESIDE[name] ?? []).filter((field) => reported[field] != null);
    return [name, ...beside].reduce((total, field) => total + count(field), 0);
  };
  const prompt_in = sum(nameIn(reported, PROMPT));
  const completion_out = sum(nameIn(reported, COMPLETION));
  return { usage: { prompt_in, completion_out, total: prompt_in + completion_out }, warnings };
}

const nameIn = (reported: Reported, names: readonly string[]): string | null =>
  names.find((name) => reported[name] != null) ?? null;
