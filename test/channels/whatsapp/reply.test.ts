import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_TEXT, splitText, templateRequest, textRequest } from "../../../src/channels/whatsapp/reply.ts";

const withoutSpace = (text: string) => text.replace(/\s/gu, "");

describe("a reply that is too long for one message", () => {
  it("is one message when it just fits", () => {
    expect(splitText("a".repeat(MAX_TEXT))).toEqual(["a".repeat(MAX_TEXT)]);
  });

  it("is cut after a sentence, not at the limit", () => {
    const sentence = "This is one of many sentences. ";
    const [first = "", ...rest] = splitText(sentence.repeat(200));
    expect(first.endsWith("sentences.")).toBe(true);
    expect(first.length).toBeGreaterThan(MAX_TEXT - sentence.length);
    expect(rest[0]?.startsWith("This is one")).toBe(true);
  });

  it("is cut between words when no sentence ends", () => {
    const parts = splitText("word ".repeat(2_000));
    expect(parts.length).toBeGreaterThan(1);
    for (const part of parts) expect(part).toMatch(/^word( word)*$/);
  });

  it("is never cut through a letter", () => {
    const family = "👨‍👩‍👧‍👦";
    const parts = splitText(family.repeat(1_000));
    for (const part of parts) expect(part.replaceAll(family, "")).toBe("");
  });

  it("loses nothing, keeps the limit and has no empty part, whatever it says", () => {
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

describe("a request body", () => {
  const reference = "01900000-0000-7000-8000-000000000002";

  it("writes to the number, answers a message and carries our message id", () => {
    const person = { phone: "+16505551234", userId: "US.1" };
    expect(textRequest({ person, reference }, "Hello", "wamid.1")).toEqual({
      messaging_product: "whatsapp",
      recipient_type: "individual",
      to: "16505551234",
      biz_opaque_callback_data: reference,
      context: { message_id: "wamid.1" },
      type: "text",
      text: { preview_url: false, body: "Hello" },
    });
  });

  it("writes to the business-scoped id of somebody without a number", () => {
    const body = textRequest({ person: { phone: null, userId: "US.1" }, reference }, "Hello", null);
    expect(body).toMatchObject({ recipient: "US.1" });
    expect(body).not.toHaveProperty("to");
    expect(body).not.toHaveProperty("context");
  });

  it("names a template", () => {
    const person = { phone: "+16505551234", userId: null };
    const template = { name: "come_back", language: "en_US", components: [{ type: "body", parameters: [] }] };
    expect(templateRequest({ person, reference }, template)).toMatchObject({
      to: "16505551234",
      type: "template",
      template: { name: "come_back", language: { code: "en_US" }, components: [{ type: "body", parameters: [] }] },
    });
  });
});
