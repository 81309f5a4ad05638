import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cleanText, codePoints, escapeHtml, truncate } from "../../src/domain/text.ts";

const FAMILY = "👨‍👩‍👧";

describe("what somebody says, cleaned", () => {
  it.each([
    ["half an emoji becomes the replacement character", "a\ud83d", "a\ufffd"],
    ["a letter and its accent become one character", "e\u0301", "é"],
    ["line ends of every system become \\n", "a\r\nb\rc\u2028d\u2029e", "a\nb\nc\nd\ne"],
    ["a NUL, an escape, a DEL and a C1 control are gone, tab and line stay", "a\0\x1b\x7f\x85b\t\n", "ab\t\n"],
    ["an override can't show it backwards", "\u202egnp.exe\u2066x\u2069", "gnp.exex"],
    ["invisible tags can't carry an instruction", "hi\u{e0041}\u{e0042}\u{e007f}", "hi"],
    ["what people need is kept", `naïve 日本語 ${FAMILY} <b>`, `naïve 日本語 ${FAMILY} <b>`],
    ["an accent behind a removed control still joins its letter", "e\0\u0301", "é"],
  ])("%s", (_, said, kept) => {
    expect(cleanText(said)).toBe(kept);
  });

  it("is the same when cleaned twice", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (said) => {
        expect(cleanText(cleanText(said))).toBe(cleanText(said));
      }),
    );
  });
});

describe("what somebody says, in HTML", () => {
  it("shows what was typed instead of running it", () => {
    expect(escapeHtml(`<a href="x" title='y'>&</a>`)).toBe(
      "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;&lt;/a&gt;",
    );
  });

  it("does not compile when it is escaped twice", () => {
    const once = escapeHtml("&");
    // @ts-expect-error it would read &amp;amp;
    expect(escapeHtml(once)).toBe("&amp;amp;");
  });
});

describe("how long something is", () => {
  it("counts an emoji as people do, not as UTF-16", () => {
    expect(codePoints("a😀b")).toBe(3);
  });

  it("agrees with the language's own iterator, halves of emoji included", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", "\ud83d", "\ude00", "😀") }), (said) => {
        expect(codePoints(said)).toBe(Array.from(said).length);
      }),
    );
  });
});

describe("something too long", () => {
  it.each([
    ["is kept when it just fits", "abc😀", 4, "abc😀"],
    ["is cut before an emoji, not through it", "abc😀", 3, "abc"],
    ["loses a family as a whole", `ab${FAMILY}`, 4, "ab"],
    ["is cut even where a letter has no end", `a${"\u0301".repeat(500)}`, 100, `a${"\u0301".repeat(99)}`],
  ])("%s", (_, said, max, kept) => {
    expect(truncate(said, max)).toBe(kept);
  });

  it("is its own beginning, within the limit and well-formed", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(20), (said, max) => {
        const cut = truncate(said, max);
        expect(said.startsWith(cut) && codePoints(cut) <= max && cut.isWellFormed()).toBe(true);
      }),
    );
  });
});
