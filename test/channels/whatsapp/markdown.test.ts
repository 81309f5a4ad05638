import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toWhatsAppMarks } from "../../../src/channels/whatsapp/markdown.ts";

describe("Markdown in a reply on WhatsApp", () => {
  it.each([
    ["bold", "This is **bold** and __bold too__.", "This is *bold* and *bold too*."],
    ["italic beside bold", "**bold**, *italic* and _italic_", "*bold*, _italic_ and _italic_"],
    ["bold italic", "***both***", "*_both_*"],
    ["italic inside bold", "**one *two* three**", "*one _two_ three*"],
    ["struck words", "~~old~~ new", "~old~ new"],
    ["a heading", "# Title\n## A **bold** one ##\ntext", "*Title*\n*A bold one*\ntext"],
    ["a link", "See [our *shop*](https://a.example/x_y__z).", "See our _shop_ (https://a.example/x_y__z)."],
    ["a link with brackets", "[wiki](https://a.example/Foo_(bar))", "wiki (https://a.example/Foo_(bar))"],
    ["a link that is its own text", "[https://a.example](https://a.example)", "https://a.example"],
    ["an image", "![a cat](https://a.example/cat.png)", "a cat (https://a.example/cat.png)"],
    ["an address in brackets", "<https://a.example> **now**", "https://a.example *now*"],
    ["bold around a link", "**[a](https://b.example)**", "*a (https://b.example)*"],
    ["code", "Use `**x**` and **`y`**", "Use `**x**` and *`y`*"],
    ["a code block", "**a**\n```js\n**b** # c\n```\n**d**", "*a*\n```js\n**b** # c\n```\n*d*"],
    ["a code block in tildes", "~~~\n**b**\n~~~\n**d**", "```\n**b**\n```\n*d*"],
    ["a list", "* **one**\n* two\n- [ ] three", "* *one*\n* two\n- [ ] three"],
    ["escaped marks", "5 \\* 3 \\* 2 is **thirty**", "5 * 3 * 2 is *thirty*"],
    ["bold between Chinese words", "你好**世界**吧", "你好*世界*吧"],
  ])("Markdown becomes WhatsApp's own formatting: %s", (_what, markdown, expected) => {
    expect(toWhatsAppMarks(markdown)).toBe(expected);
  });

  it.each([
    "Already *bold*, _italic_, ~struck~ and `code` in WhatsApp's own marks",
    "2*3*4 and 5 * 6 * 7",
    "snake_case_name and a_b",
    "#hashtag",
    "an unfinished *mark",
    "> quoted\n1. one",
    "https://a.example/a*b*c?x=__y__".replaceAll("*", "-"),
  ])("text without Markdown stays unchanged: %s", (text) => {
    expect(toWhatsAppMarks(text)).toBe(text);
  });

  it("the formatting of a reply loses no word of any Markdown", () => {
    const piece = fc.constantFrom(
      ...["**", "*", "__", "_", "~~", "`", "```", "\n", " ", "# ", "- ", "[", "](", ")", "\\", "<", ">", "~~~\n", "!"],
      ...["one", "two ", "три", "https://a.example/b", "x"],
    );
    const wordsOf = (text: string) => text.match(/[\p{L}\p{N}]+/gu)?.join("") ?? "";
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => {
        const text = pieces.join("");
        // A link that is its own text is told once.
        fc.pre(!/\[([^\]\n]*)\]\(\1\)/u.test(text));
        expect(wordsOf(toWhatsAppMarks(text))).toBe(wordsOf(text));
      }),
      { numRuns: 2_000 },
    );
  });

  it("a text of unmatched marks is formatted in linear time", () => {
    for (const mark of ["**a ", "*a ", "__a ", "~~a ", "[a](", "`a ", "# ", "((", "[[", "\\", "***a "]) {
      expect(toWhatsAppMarks(mark.repeat(3_000)).length).toBeGreaterThan(0);
    }
  });
});
