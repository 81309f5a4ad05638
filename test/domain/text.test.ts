import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { cleanContent, cleanText, codePoints, escapeHtml, truncate } from "../../src/domain/text.ts";

const flag = (region: string): string =>
  `🏴${Array.from(region, (letter) => String.fromCodePoint(0xe0000 + letter.charCodeAt(0))).join("")}\u{e007f}`;
const [ENGLAND, SCOTLAND, WALES] = [flag("gbeng"), flag("gbsct"), flag("gbwls")];
const FAMILY = "👨‍👩‍👧";

describe("what somebody says, cleaned", () => {
  it.each([
    ["half an emoji becomes the replacement character", "a\ud83d", "a\ufffd"],
    ["a letter and its accent become one character", "e\u0301", "é"],
    ["line ends of every system become \\n", "a\r\nb\rc\u2028d\u2029e\vf\fg\x85h", "a\nb\nc\nd\ne\nf\ng\nh"],
    ["a NUL, an escape, a DEL and a C1 control are gone, tab and line stay", "\0a\x1b \x7f\x9fb\0\t\n", "a b\t\n"],
    ["a run of control characters between two words becomes one space", "a\x1c\x1d\x1e\x1fb\0\0c", "a b c"],
    ["the flags of England, Scotland and Wales stay", `${ENGLAND}${SCOTLAND}${WALES}`, `${ENGLAND}${SCOTLAND}${WALES}`],
    ["a flag of another region loses its tags", "🏴\u{e0075}\u{e0073}\u{e0063}\u{e0061}\u{e007f}", "🏴"],
    ["tags behind a flag, or behind half of one, are gone", `${WALES}\u{e0041}🏴\u{e0067}\u{e0062}`, `${WALES}🏴`],
    ["an override can't show it backwards", "\u202egnp.exe\u2066x\u2069", "gnp.exex"],
    ["invisible tags can't carry an instruction", "hi\u{e0041}\u{e0042}\u{e007f}", "hi"],
    ["what people need is kept", `naïve 日本語 ${FAMILY} <b>`, `naïve 日本語 ${FAMILY} <b>`],
    ["an accent behind a removed control still joins its letter", "e\0\u0301", "é"],
  ])("text is sanitised: %s", (_, said, kept) => {
    expect(cleanText(said)).toBe(kept);
  });

  it("sanitised text is unchanged when sanitised again", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (said) => {
        expect(cleanText(cleanText(said))).toBe(cleanText(said));
      }),
    );
  });
});

describe("control characters of C0 and C1", () => {
  const controls = Array.from({ length: 0xa0 }, (_, code) => String.fromCodePoint(code)).filter((c) =>
    /\p{Cc}/u.test(c),
  );
  const words = fc.stringMatching(/^[a-z日é]{1,5}$/u);

  it("removed control characters never join two words", () => {
    expect(controls).toHaveLength(65);
    const runs = fc.array(fc.constantFrom(...controls), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(words, runs, words, (before, run, after) => {
        expect(cleanText(before + run.join("") + after).split(/\s+/)).toEqual([
          before.normalize("NFC"),
          after.normalize("NFC"),
        ]);
      }),
    );
  });

  it("sanitised text has no control characters except tabs and line breaks, and keeps the others in order", () => {
    const letters = fc.constantFrom(...controls, "a", "b", " ", "日", "\u2028");
    fc.assert(
      fc.property(fc.string({ unit: letters }), (said) => {
        const clean = cleanText(said);
        // oxlint-disable-next-line no-control-regex
        expect(clean).not.toMatch(/[\0-\x08\x0b-\x1f\x7f-\x9f]/);
        const visible = (text: string) => text.replace(/[\s\p{Cc}]/gu, "");
        expect(visible(clean)).toBe(visible(said));
      }),
    );
  });
});

describe("a text of which nothing can be seen", () => {
  const INVISIBLE = [
    " ",
    "\n",
    "\u00a0",
    "\u00ad",
    "\u115f",
    "\u1160",
    "\u200b",
    "\u200f",
    "\u2060",
    "\u2800",
    "\u3000",
  ];
  const MORE = ["\u3164", "\ufe0f", "\ufeff", "\uffa0", "\u{e0041}", "\u{e0100}", "\u202e", "\x1f", "\x85"];

  it("a text of invisible characters is empty", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...INVISIBLE, ...MORE), minLength: 1 }), (said) => {
        expect(cleanContent(said)).toBe("");
      }),
    );
  });

  it.each(["a", "\u200ba", "👍🏽", WALES, "\u2801", "ㅎ", "."])(
    "a text with visible characters is not empty: %j",
    (said) => {
      expect(cleanContent(said)).toBe(said.trim());
    },
  );
});

describe("what somebody says, in HTML", () => {
  it("escaped text shows markup instead of running it", () => {
    expect(escapeHtml(`<a href="x" title='y'>&</a>`)).toBe(
      "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;&lt;/a&gt;",
    );
  });

  it("escaped text can't be passed to the escape function again: the types refuse it", () => {
    const once = escapeHtml("&");
    // @ts-expect-error it would read &amp;amp;
    expect(escapeHtml(once)).toBe("&amp;amp;");
  });
});

describe("how long something is", () => {
  it("an emoji counts as one character", () => {
    expect(codePoints("a😀b")).toBe(3);
  });

  it("the length of a text equals the number of its code points", () => {
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
  ])("text is cut: %s", (_, said, max, kept) => {
    expect(truncate(said, max)).toBe(kept);
  });

  it("a cut text is a well-formed prefix within the limit", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(20), (said, max) => {
        const cut = truncate(said, max);
        expect(said.startsWith(cut) && codePoints(cut) <= max && cut.isWellFormed()).toBe(true);
      }),
    );
  });
});
