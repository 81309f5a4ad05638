import { describe, expect, it } from "vitest";
import { templateRequest, templateText, textRequest } from "../../../src/channels/whatsapp/reply.ts";

describe("a request body", () => {
  const reference = "01900000-0000-7000-8000-000000000002";

  it("a text request names the number, the message it answers and our message id", () => {
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

  it("a text request names the business-scoped id of a user without a number", () => {
    const body = textRequest({ person: { phone: null, userId: "US.1" }, reference }, "Hello", null);
    expect(body).toMatchObject({ recipient: "US.1" });
    expect(body).not.toHaveProperty("to");
    expect(body).not.toHaveProperty("context");
  });

  it("a template request names the template", () => {
    const person = { phone: "+16505551234", userId: null };
    const template = { name: "come_back", language: "en_US", components: [{ type: "body", parameters: [] }] };
    expect(templateRequest({ person, reference }, template)).toMatchObject({
      to: "16505551234",
      type: "template",
      template: { name: "come_back", language: { code: "en_US" }, components: [{ type: "body", parameters: [] }] },
    });
  });
});

describe("a template in the history", () => {
  const components = [
    {
      type: "BODY",
      parameters: [
        { type: "text", text: "Ann" },
        { type: "text", text: "noon" },
      ],
    },
  ];

  it("a template in the history is its text with its parameters where the instance states the text", () => {
    const text = "Hello {{1}}, see you at {{ 2 }} or {{3}}.";
    expect(templateText({ name: "date", language: "en", components, text })).toBe(
      "Hello Ann, see you at noon or {{3}}.",
    );
  });

  it("a template in the history is its name and its parameters when the instance states no text", () => {
    expect(templateText({ name: "date", language: "en", components })).toBe("[template: date, Ann, noon]");
    expect(templateText({ name: "date", language: "en" })).toBe("[template: date]");
  });
});
