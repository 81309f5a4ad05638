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

  it.each([[{}], [{ text: "" }], [{ text: 7, message: { content: ["x"] } }], [{ answer: "Hello!" }]])(
    "an empty reply becomes the default reply and is marked as such: %j [B2.5.3]",
    (response) => {
      expect(readReply(response, SORRY)).toMatchObject({
        text: SORRY,
        isDefault: true,
        warnings: [expect.any(String)],
      });
    },
  );

  it.each([[null], [undefined], ["Hello!"], [["Hello!"]], [42]])(
    "a response that is no object is not used: %j [B2.5.4]",
    (response) => {
      expect(readReply(response, SORRY)).toEqual({
        text: SORRY,
        isDefault: true,
        metadata: {},
        warnings: ["the answer is not a JSON object"],
      });
    },
  );

  it("the reply is sanitised and keeps its markup", () => {
    expect(textOf({ text: "a\0 < \u202eb\r\n*c*" })).toBe("a < b\n*c*");
  });

  it("a reply over 10,000 characters is cut with a warning [C4.2.3]", () => {
    const reply = readReply({ text: "😀".repeat(10_001) }, SORRY);
    expect([reply.text === "😀".repeat(10_000), reply.warnings]).toEqual([true, [expect.stringContaining("longer")]]);
  });

  it("a reply of exactly 10,000 characters is complete and has no warning", () => {
    expect(readReply({ text: "x".repeat(10_000) }, SORRY)).toMatchObject({ text: "x".repeat(10_000), warnings: [] });
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
