import { describe, expect, it } from "vitest";
import { readReply } from "../../src/domain/reply.ts";

const SORRY = "Sorry, say that again?";
const textOf = (response: unknown) => readReply(response, SORRY).text;

describe("an orchestrator's answer", () => {
  it("the reply is the orchestrator's text [B2.5.1]", () => {
    expect(textOf({ text: " Hello! ", message: "not this" })).toBe("Hello!");
  });

  it.each([
    ["llm_response", { llm_response: "Hello!", message: "no", content: "no" }],
    ["message", { message: "Hello!", content: "no" }],
    ["content", { content: "Hello!" }],
    ["a message's content", { message: { role: "assistant", content: "Hello!" } }],
    ["the next field when one is blank", { text: " \0", llm_response: "", message: null, content: "Hello!" }],
  ])("the reply is found in %s [B2.5.2]", (_, response) => {
    expect(textOf(response)).toBe("Hello!");
  });

  it.each([[{}], [{ text: "" }], [{ text: 7, message: { content: [7] } }], [{ answer: "Hello!" }]])(
    "an empty reply becomes the default reply and is marked as such: %j [B2.5.3]",
    (response) => {
      expect(readReply(response, SORRY)).toMatchObject({
        text: SORRY,
        isDefault: true,
        warnings: [expect.any(String)],
      });
    },
  );

  it.each([[null], [undefined], ["Hello!"], [42]])(
    "a response that is no object and no list is not used: %j [B2.5.4]",
    (response) => {
      expect(readReply(response, SORRY)).toEqual({
        text: SORRY,
        isDefault: true,
        metadata: {},
        warnings: ["the answer is not a JSON object or list"],
      });
    },
  );

  const TOOL = { type: "tool_use", id: "1", name: "search", input: { text: "no" } };
  const REASONING = { type: "reasoning", text: "no" };
  it.each([
    [
      "blocks in content",
      {
        content: [
          { type: "text", text: "Hello, " },
          { type: "text", text: "Ann!" },
        ],
      },
    ],
    [
      "blocks in a message's content",
      { message: { role: "assistant", content: [{ type: "text", text: "Hello, Ann!" }] } },
    ],
    [
      "Anthropic's blocks",
      {
        type: "message",
        role: "assistant",
        content: [
          { type: "thinking", thinking: "no" },
          { type: "text", text: "Hello, " },
          { type: "text", text: "Ann!" },
          TOOL,
        ],
      },
    ],
    [
      "OpenAI's first choice",
      { choices: [{ message: { role: "assistant", content: "Hello, Ann!" } }, { message: { content: "no" } }] },
    ],
    ["a choice of blocks", { choices: [{ message: { content: [REASONING, { type: "text", text: "Hello, Ann!" }] } }] }],
    [
      "OpenAI's responses",
      {
        output: [
          { type: "reasoning", summary: [{ text: "no" }] },
          { type: "message", role: "assistant", content: [{ type: "output_text", text: "Hello, Ann!" }] },
        ],
      },
    ],
    [
      "Gemini's candidates",
      {
        candidates: [
          { content: { role: "model", parts: [{ text: "no", thought: true }, { text: "Hello, " }, { text: "Ann!" }] } },
        ],
      },
    ],
    [
      "Bedrock's output",
      {
        output: {
          message: {
            role: "assistant",
            content: [{ reasoningContent: { reasoningText: { text: "no" } } }, { text: "Hello, Ann!" }],
          },
        },
      },
    ],
    [
      "the AI SDK's parts",
      { content: [REASONING, { type: "text", text: "Hello, Ann!" }, { type: "tool-call", input: { text: "no" } }] },
    ],
    [
      "LangGraph's last message",
      {
        messages: [
          { type: "ai", content: "no" },
          { type: "human", content: "no" },
          { type: "tool", content: "no" },
          { type: "ai", content: "Hello, Ann!" },
        ],
      },
    ],
    [
      "a list of blocks",
      [
        { type: "text", text: "Hello, " },
        { type: "text", text: "Ann!" },
      ],
    ],
    ["a list of texts", ["Hello, ", "Ann!"]],
    [
      "a list of messages",
      [
        { role: "user", content: "no" },
        { role: "tool", content: "no" },
        { role: "assistant", content: "Hello, Ann!" },
      ],
    ],
  ])("the reply is read from %s, without reasoning and tools", (_, response) => {
    expect(readReply(response, SORRY)).toMatchObject({ text: "Hello, Ann!", isDefault: false, warnings: [] });
  });

  it("parts of a reply are joined in order, and words stay apart where a part is left out", () => {
    const words = (text: string) => ({ type: "text", text });
    expect(textOf({ content: [words("Let me look."), TOOL, words("It rains."), words(" Take"), words("n.")] })).toBe(
      "Let me look.\nIt rains. Taken.",
    );
    expect(textOf([{ role: "assistant", content: "One." }, { role: "assistant", content: "Two." }, "Three."])).toBe(
      "One.\nTwo.\nThree.",
    );
  });

  it("a reply nested a thousand levels deep has no text", () => {
    let content: unknown = "deep";
    for (let depth = 0; depth < 1_000; depth += 1) content = [{ content }];
    expect(readReply({ content }, SORRY).isDefault).toBe(true);
  });

  it("a list is stored with the message", () => {
    expect(readReply(["Hi"], SORRY).metadata).toEqual({ orchestrator_response: { content: ["Hi"] } });
  });

  it("the reply is sanitised and keeps its markup", () => {
    expect(textOf({ text: "a\0 < \u202eb\r\n*c*" })).toBe("a < b\n*c*");
  });

  it("a reply over 10,000 characters is cut with a warning [C4.2.3]", () => {
    const reply = readReply({ text: "😀".repeat(10_001) }, SORRY);
    expect([reply.text === "😀".repeat(10_000), reply.warnings]).toEqual([true, [expect.stringContaining("longer")]]);
    expect(reply.metadata.truncated).toBe(true);
  });

  it("a reply of exactly 10,000 characters is stored whole, without a warning", () => {
    expect(readReply({ text: "x".repeat(10_000) }, SORRY)).toEqual({
      text: "x".repeat(10_000),
      isDefault: false,
      metadata: { orchestrator_response: { text: "x".repeat(10_000) } },
      warnings: [],
    });
  });

  it("the orchestrator's response is stored without its secrets [C4.2.7]", () => {
    const response = { text: "Hello!", usage: { total_tokens: 5 }, debug: { api_key: "k", step: "1\0" } };
    expect(readReply(response, SORRY).metadata).toEqual({
      orchestrator_response: { text: "Hello!", usage: { total_tokens: 5 }, debug: { step: "1" } },
    });
  });

  it("the orchestrator's response is stored up to 64 KB, with a warning when entries are left out [C4.2.8]", () => {
    const debug = Array.from({ length: 10 }, () => "x".repeat(9000));
    const reply = readReply({ text: "Hello!", debug, intent: "greet" }, SORRY);
    expect([reply.metadata, reply.warnings]).toEqual([
      { orchestrator_response: { text: "Hello!", intent: "greet" } },
      [expect.stringContaining("64 KB")],
    ]);
  });
});
