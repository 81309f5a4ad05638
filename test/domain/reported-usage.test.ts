import { describe, expect, it } from "vitest";
import { extractUsage } from "../../src/domain/reported-usage.ts";

describe("the usage in a response", () => {
  it.each([["token_usage"], ["usage"]])("usage is read from the response's %s [B2.6.1]", (field) => {
    expect(extractUsage({ [field]: { prompt_in: 12, completion_out: 3 } })).toEqual({
      usage: { prompt_in: 12, completion_out: 3, total: 15 },
      warnings: [],
    });
  });

  it.each([["prompt_tokens"], ["input_tokens"], ["inputTokens"], ["promptTokens"], ["promptTokenCount"]])(
    "prompt tokens are also read from %s [B2.6.2]",
    (field) => {
      expect(extractUsage({ usage: { [field]: 12 } }).usage).toMatchObject({ prompt_in: 12 });
    },
  );

  it.each([["completion_tokens"], ["output_tokens"], ["outputTokens"], ["completionTokens"], ["candidatesTokenCount"]])(
    "completion tokens are also read from %s [B2.6.3]",
    (field) => {
      expect(extractUsage({ usage: { [field]: 3 } }).usage).toMatchObject({ completion_out: 3 });
    },
  );

  it.each([
    [
      "OpenAI, whose prompt holds what was cached",
      {
        usage: {
          prompt_tokens: 12,
          completion_tokens: 3,
          total_tokens: 15,
          prompt_tokens_details: { cached_tokens: 8 },
        },
      },
    ],
    [
      "Anthropic, whose cached tokens are beside the prompt",
      { usage: { input_tokens: 2, cache_read_input_tokens: 6, cache_creation_input_tokens: 4, output_tokens: 3 } },
    ],
    ["Bedrock", { usage: { inputTokens: 2, cacheReadInputTokens: 10, outputTokens: 3, totalTokens: 15 } }],
    [
      "LiteLLM, which has Anthropic's names for tokens of the prompt",
      {
        usage: { prompt_tokens: 12, cache_read_input_tokens: 6, cache_creation_input_tokens: 0, completion_tokens: 3 },
      },
    ],
    ["the AI SDK", { text: "Hi", usage: { inputTokens: 12, outputTokens: 3, totalTokens: 15, cachedInputTokens: 8 } }],
    [
      "the AI SDK after several steps",
      { usage: { inputTokens: 5, outputTokens: 1 }, totalUsage: { inputTokens: 12, outputTokens: 3 } },
    ],
    ["the AI SDK before 5", { usage: { promptTokens: 12, completionTokens: 3, totalTokens: 15 } }],
    ["a provider of the AI SDK", { usage: { inputTokens: { total: 12, noCache: 12 }, outputTokens: { total: 3 } } }],
    [
      "LangChain",
      {
        content: "Hi",
        usage_metadata: {
          input_tokens: 12,
          output_tokens: 3,
          total_tokens: 15,
          input_token_details: { cache_read: 8 },
        },
      },
    ],
    [
      "LangChain, in the message's metadata",
      { content: "Hi", response_metadata: { tokenUsage: { promptTokens: 12, completionTokens: 3 } } },
    ],
    [
      "LangGraph",
      { messages: [{ type: "human" }, { type: "ai", usage_metadata: { input_tokens: 12, output_tokens: 3 } }] },
    ],
    ["a list of messages", [{ role: "assistant", usage: { input_tokens: 12, output_tokens: 3 } }]],
    [
      "Gemini, whose reasoning and tools are beside the rest",
      {
        usageMetadata: {
          promptTokenCount: 10,
          toolUsePromptTokenCount: 2,
          candidatesTokenCount: 1,
          thoughtsTokenCount: 2,
          totalTokenCount: 15,
        },
      },
    ],
    [
      "Gemini in Python",
      { usage_metadata: { prompt_token_count: 12, candidates_token_count: 3, total_token_count: 15 } },
    ],
    ["a message that carries its usage", { message: { content: "Hi", usage: { input_tokens: 12, output_tokens: 3 } } }],
  ])("usage is read in the form of %s", (_, answer) => {
    expect(extractUsage(answer)).toEqual({ usage: { prompt_in: 12, completion_out: 3, total: 15 }, warnings: [] });
  });

  it("usage is read from `usage` when `token_usage` is empty", () => {
    expect(extractUsage({ token_usage: {}, usage: { prompt_tokens: 1, completion_tokens: 2 } }).usage?.total).toBe(3);
  });

  it.each([[null], ["text"], [{}], [[]], [{ usage: null }]])(
    "usage is unknown when the response states none: %j",
    (answer) => {
      expect(extractUsage(answer)).toEqual({ usage: null, warnings: [] });
    },
  );

  it.each([
    [{ usage: { total_tokens: 15 } }, "only a total"],
    [{ usage_metadata: { totalTokenCount: 15 } }, "only a total"],
    [{ token_usage: { cost: 1 } }, "no known count"],
    [{ usage: {} }, "no known count"],
  ])("usage is unknown, with a warning, when it has no known count: %j", (answer, warning) => {
    expect(extractUsage(answer)).toEqual({ usage: null, warnings: [expect.stringContaining(warning)] });
  });

  it("an invalid token count is 0, with a warning", () => {
    expect(extractUsage({ usage: { prompt_tokens: -1, completion_tokens: "x" } })).toEqual({
      usage: { prompt_in: 0, completion_out: 0, total: 0 },
      warnings: [expect.stringContaining("prompt_tokens"), expect.stringContaining("completion_tokens")],
    });
  });
});
