import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_TEXT } from "../../../src/channels/whatsapp/reply.ts";
import { splitText } from "../../../src/channels/whatsapp/split.ts";

const withoutSpace = (text: string) => text.replace(/\s/gu, "");

describe("a reply that is too long for one message", () => {
  it("a reply of exactly the limit is one message", () => {
    expect(splitText("a".repeat(MAX_TEXT), MAX_TEXT)).toEqual(["a".repeat(MAX_TEXT)]);
  });

  it("a long reply is cut after a sentence", () => {
    const sentence = "This is one of many sentences. ";
    const [first = "", ...rest] = splitText(sentence.repeat(200), MAX_TEXT);
    expect(first.endsWith("sentences.")).toBe(true);
    expect(first.length).toBeGreaterThan(MAX_TEXT - sentence.length);
    expect(rest[0]?.startsWith("This is one")).toBe(true);
  });

  it("a long reply is cut between words when no sentence ends before the limit", () => {
    const parts = splitText("word ".repeat(2_000), MAX_TEXT);
    expect(parts.length).toBeGreaterThan(1);
    for (const part of parts) expect(part).toMatch(/^word( word)*$/);
  });

  it("a long reply is never cut inside a character", () => {
    const family = "👨‍👩‍👧‍👦";
    const parts = splitText(family.repeat(1_000), MAX_TEXT);
    for (const part of parts) expect(part.replaceAll(family, "")).toBe("");
  });

  it("the parts of any long reply keep its text, respect the limit and are never empty", () => {
    const words = fc.constantFrom("Yes. ", "no ", "\n\n", "Что? ", "你好。", "👩‍🚀", "a".repeat(30), "e\u0301", "  ");
    fc.assert(
      fc.property(fc.array(words, { maxLength: 200 }), fc.integer({ min: 16, max: 200 }), (pieces, max) => {
        const text = pieces.join("");
        const parts = splitText(text, max);
        expect(withoutSpace(parts.join(""))).toBe(withoutSpace(text));
        for (const part of parts) {
          expect(part.trim()).not.toBe("");
          expect(part.length).toBeLessThanOrEqual(max);
        }
      }),
    );
  });
});

describe("a cut of a long reply", () => {
  it("a cut of a long reply removes the line break and no indentation", () => {
    const list = "- one\n    - two\n    - three";
    expect(splitText(`${"word ".repeat(10).trim()}.\n\n    indented\n${list}`, 60)).toEqual([
      "word word word word word word word word word word.",
      "    indented\n- one\n    - two\n    - three",
    ]);
  });

  it("a cut of a long reply never falls into the indentation of a line", () => {
    const text = `${"x".repeat(50)}\n${" ".repeat(20)}deep`;
    expect(splitText(text, 60)).toEqual(["x".repeat(50), `${" ".repeat(20)}deep`]);
  });

  it("a cut of a long reply closes a code block and opens it again, between two lines", () => {
    const lines = Array.from({ length: 12 }, (_, index) => `  line ${index}();`);
    const parts = splitText(["Look:", "```js", ...lines, "```", "Done."].join("\n"), 80);
    expect(parts.length).toBeGreaterThan(2);
    for (const part of parts) expect(part.length).toBeLessThanOrEqual(80);
    for (const part of parts) expect((part.match(/^```/gmu) ?? []).length % 2).toBe(0);
    expect(parts[1]?.startsWith("```js\n  line ")).toBe(true);
    expect(
      parts
        .join("\n")
        .split("\n")
        .filter((line) => line.startsWith("  line")),
    ).toEqual(lines);
    expect(parts.join("\n")).not.toContain("```js\n```");
  });

  it("a cut of a long reply stands before a code block that would only begin in the part", () => {
    const [first, second] = splitText(`${"word ".repeat(15).trim()}.\n\`\`\`\nlet a;\nlet b;\nlet c;\n\`\`\``, 90);
    expect(first).toBe(`${"word ".repeat(15).trim()}.`);
    expect(second).toBe("```\nlet a;\nlet b;\nlet c;\n```");
  });

  it("a cut of any long reply loses no word and leaves no code block open", () => {
    const piece = fc.constantFrom(
      "Yes. ",
      "no ",
      "\n\n",
      "\n    deep ",
      "\n```\n",
      "\n```js\n",
      "a();\n",
      "\n~~~\n",
      "x".repeat(40),
    );
    const isFence = (line: string) => /^\s*(?:```|~~~)/u.test(line);
    const wordsOf = (text: string) =>
      text
        .split("\n")
        .filter((line) => !isFence(line))
        .join("")
        .replace(/\s/gu, "");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 150 }), fc.integer({ min: 60, max: 200 }), (pieces, max) => {
        const text = pieces.join("");
        const parts = splitText(text, max);
        expect(parts.map(wordsOf).join("")).toBe(wordsOf(text));
        for (const part of parts) expect(part.length).toBeLessThanOrEqual(max);
        for (const part of parts.slice(0, -1)) {
          const marks = part
            .split("\n")
            .filter(isFence)
            .map((line) => line.trim()[0]);
          // A mark of the other kind inside a block is code.
          let open: string | undefined;
          for (const mark of marks) open = open === undefined ? mark : mark === open ? undefined : open;
          expect(open).toBeUndefined();
        }
      }),
      { numRuns: 300 },
    );
  });
});
