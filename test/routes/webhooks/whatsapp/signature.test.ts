import { describe, expect } from "vitest";
import { after, echo } from "../../../support/orchestrator.ts";
import { change, messages, newNumber, newWamid, sign, text } from "../../../support/whatsapp.ts";
import { webhookTest } from "../../../support/webhook.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("a notification", () => {
  it.for([
    ["with one byte changed", (body: string) => [body.replace("Hello", "hello"), sign(body)]],
    ["without a signature", (body: string) => [body, ""]],
    ["signed with another secret", (body: string) => [body, sign(body, "another")]],
  ] as const)("a notification %s is refused and not stored", async ([, tamper], { gateway, post }) => {
    const message = text({ phone: newNumber() }, "Hello");
    const addresses = gateway.addresses().length;
    const [body = "", signature = ""] = tamper(JSON.stringify(messages(message)));
    expect(await post(body, signature)).toMatchObject({ status: 401, body: { error: { code: "UNAUTHORIZED" } } });
    expect(gateway.addresses()).toHaveLength(addresses);
  });

  it("a notification signed with the former secret is accepted", async ({ post }) => {
    const message = text({ phone: newNumber() }, "Hello");
    const body = JSON.stringify(messages(message));
    expect(await post(body, sign(body, "a-former-secret"))).toMatchObject({ status: 200 });
  });

  it.for([
    ["null", 200],
    ["[]", 200],
    ['"text"', 200],
    ['{"object":"page","entry":[{"changes":7}]}', 200],
    ["{", 400],
    ["", 400],
  ] as const)("a notification of %s is answered with %i", async ([body, status], { post }) => {
    expect((await post(body, sign(body))).status).toBe(status);
  });

  it("a notification of more than 3 MB is refused", async ({ post }) => {
    const body = JSON.stringify({ padding: "a".repeat(3 * 1024 * 1024) });
    expect((await post(body, sign(body))).status).toBe(413);
  });

  it("a notification is acknowledged before the orchestrator answers", async ({
    orchestrator,
    notify,
    replyTo,
    waitForReply,
  }) => {
    orchestrator.behave(after(1_000));
    const message = text({ phone: newNumber() }, "Hello");
    const reply = await notify(messages(message));
    expect(reply).toMatchObject({ status: 200, body: { data: { messages: 1, duplicates: 0 } } });
    expect(replyTo(message.id)).toBeUndefined();
    await waitForReply(message.id);
  });

  it("every message of a mixed notification reaches its conversation", async ({ notify, waitForReply }) => {
    const [one, two] = [newNumber(), newNumber()];
    const items = [text({ phone: one }, "1"), text({ phone: two }, "2"), text({ phone: one }, "3")];
    const strange = [7, null, { type: "text" }, { id: newWamid(), type: "text", text: { body: "from nobody" } }];
    const reply = await notify({
      object: "whatsapp_business_account",
      entry: [
        { changes: [change({ messages: [items[0], ...strange, items[1]] }), { field: "history", value: {} }, 5] },
        {
          changes: [change({ messages: [items[2]], statuses: [{ id: "wamid.x", status: "read", recipient_id: one }] })],
        },
      ],
    });
    expect(reply.body.data).toMatchObject({ messages: 3, statuses: 1 });
    const replies = await Promise.all(items.map(({ id }) => waitForReply(id)));
    expect(replies.map(({ body }) => [body.to, body.text.body])).toEqual([
      [one, "echo: 1"],
      [two, "echo: 2"],
      [one, "echo: 3"],
    ]);
  });
});
