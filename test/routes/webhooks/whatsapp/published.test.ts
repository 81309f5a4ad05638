import { describe, expect } from "vitest";
import { echo } from "../../../support/orchestrator.ts";
import {
  BUSINESS,
  change,
  fixtures,
  messages,
  newNumber,
  newUserId,
  newWamid,
  notification,
  sign,
  text,
} from "../../../support/whatsapp.ts";
import { webhookTest } from "../../../support/webhook.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("everything that is published by Meta's examples", () => {
  it.for(fixtures().filter(({ payload }) => payload.entry[0].changes[0].value.messages))(
    "the published example $name is stored once with its type and refused with one byte changed",
    async ({ payload }, { post, waitForStored, stored }) => {
      const { value } = payload.entry[0].changes[0];
      const [item] = value.messages;
      Object.assign(item, { id: newWamid(), from: newNumber() });
      value.metadata = { display_phone_number: BUSINESS.number, phone_number_id: BUSINESS.phoneNumberId };
      for (const contact of value.contacts ?? []) Object.assign(contact, { wa_id: item.from, user_id: newUserId() });
      const body = JSON.stringify(payload);
      expect((await post(body.replace(item.id, newWamid()), sign(body))).status).toBe(401);
      expect((await post(body, sign(body))).status).toBe(200);
      const [row] = await waitForStored(item.id);
      expect(row!.metadata.whatsapp.raw).toMatchObject(item);
      expect((await post(body, sign(body))).body.data.duplicates).toBe(1);
      expect(await stored(item.id)).toHaveLength(1);
    },
  );
});

describe("what is no message to us", () => {
  it("an echo of the business is stored as its own message and not answered", async ({
    notify,
    waitForReply,
    orchestrator,
    waitForStored,
  }) => {
    const phone = newNumber();
    const before = text({ phone }, "Hello");
    await notify(messages(before));
    await waitForReply(before.id);
    const echoed: Record<string, any> = { ...text({ phone: BUSINESS.number }, "We called you"), to: phone };
    const calls = orchestrator.calls.length;
    await notify(notification(change({ message_echoes: [echoed] }, "smb_message_echoes")));
    const [row] = await waitForStored(echoed.id);
    expect(row).toMatchObject({ role: "assistant", content: "We called you", user_id: null });
    const next = text({ phone }, "Thanks");
    await notify(messages(next));
    await waitForReply(next.id);
    expect(orchestrator.calls.length - calls).toBe(1);
    expect(orchestrator.calls.at(-1)!.adapter.history.at(-1)).toEqual({ role: "assistant", content: "We called you" });
  });

  it.for([
    ["a reaction", { type: "reaction", reaction: { message_id: "wamid.1", emoji: "👍" } }, "reaction"],
    ["a withdrawal", { type: "revoke", revoke: { original_message_id: "wamid.1" } }, "revoke"],
    ["a type of tomorrow", { type: "hologram", hologram: { depth: 3 } }, "unsupported"],
  ] as const)(
    "an event of the type %s is stored and not answered",
    async ([, content, kind], { orchestrator, notify, waitForStored }) => {
      const message = { id: newWamid(), from: newNumber(), timestamp: "1749416383", ...content };
      const calls = orchestrator.calls.length;
      await notify(messages(message));
      const [row] = await waitForStored(message.id);
      expect(row!.metadata.whatsapp.kind).toBe(kind);
      expect(orchestrator.calls.length).toBe(calls);
    },
  );
});
