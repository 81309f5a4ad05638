import { describe, expect, it } from "vitest";
import { MessageContent, MessageMetadata } from "../../src/domain/message.ts";

describe("what a person says", () => {
  it("may be 10,000 characters long, an emoji being one of them [F2.4.1]", () => {
    expect(MessageContent.parse("😀".repeat(10_000))).toBe("😀".repeat(10_000));
  });

  it("is refused at 10,001 characters, never cut [F2.4.2]", () => {
    expect(MessageContent.safeParse("x".repeat(10_001)).success).toBe(false);
  });

  it("is trimmed before it is measured [F2.4.3]", () => {
    expect(MessageContent.parse(` \n${"x".repeat(10_000)}\t `)).toBe("x".repeat(10_000));
  });

  it.each([["  "], ["\0\x1b"], ["\u202e"]])("is refused when nothing is left of it: %j", (said) => {
    expect(MessageContent.safeParse(said).success).toBe(false);
  });

  it("keeps its HTML: the model gets what was meant", () => {
    expect(MessageContent.parse("<b>hi</b>\0")).toBe("<b>hi</b>");
  });
});

describe("what a client says about a message", () => {
  it("is kept without secrets and control characters", () => {
    expect(MessageMetadata.parse({ page: " /home\0 ", session: { token: "t" } })).toEqual({
      page: "/home",
      session: {},
    });
  });

  it.each([[[]], ["x"], [null], [1]])("is refused when it is no object: %j", (sent) => {
    expect(MessageMetadata.safeParse(sent).success).toBe(false);
  });

  it("is refused over 64 KB, however many entries make them up", () => {
    const sent = (bytes: number) => ({ a: "x".repeat(bytes - '{"a":""}'.length) });
    expect([sent(65_536), sent(65_537)].map((metadata) => MessageMetadata.safeParse(metadata).success)).toEqual([
      true,
      false,
    ]);
  });
});
