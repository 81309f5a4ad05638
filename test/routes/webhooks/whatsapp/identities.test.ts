import { describe, expect, vi } from "vitest";
import { ACME_KEY, INSTANCE } from "../../../support/demo.ts";
import { messageIdOf } from "../../../support/graph-api.ts";
import type { Behaviour, GraphCall } from "../../../support/graph-api.ts";
import { echo } from "../../../support/orchestrator.ts";
import { PATIENCE } from "../../../support/patience.ts";
import { webhookTest } from "../../../support/webhook.ts";
import {
  BUSINESS,
  change,
  messages,
  newNumber,
  newUserId,
  newWamid,
  notification,
  text,
} from "../../../support/whatsapp.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

/** Takes a message, and names the recipient by other ids. */
const takeAs =
  (recipient: Record<string, string>): Behaviour =>
  (call, response) => {
    call.id = newWamid();
    const body = {
      messaging_product: "whatsapp",
      contacts: [{ input: call.body.to, ...recipient }],
      messages: [{ id: call.id }],
    };
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  };

const status = (call: GraphCall, state: string, more: Record<string, unknown>) => ({
  id: call.id,
  status: state,
  timestamp: "1749416383",
  ...more,
});

describe("the address of a WhatsApp conversation", () => {
  it("a message id is answered once, with and without the display number", async ({
    notify,
    waitForReply,
    orchestrator,
  }) => {
    const message = text({ phone: newNumber() }, "Once");
    const bare = { phone_number_id: BUSINESS.phoneNumberId };
    await notify(messages(message));
    await waitForReply(message.id);
    const calls = orchestrator.calls.length;
    const again = await notify(notification(change({ messages: [message], metadata: bare })));
    expect(again.body.data).toMatchObject({ duplicates: 1 });
    expect(orchestrator.calls.length).toBe(calls);
  });

  it("a sender without the display number and one the brand's system names by it is the same user", async ({
    notify,
    waitForReply,
    waitForStored,
    gateway,
  }) => {
    const phone = newNumber();
    const message = text({ phone }, "By webhook");
    await notify(notification(change({ messages: [message], metadata: { phone_number_id: BUSINESS.phoneNumberId } })));
    await waitForReply(message.id);
    const [row] = await waitForStored(message.id);
    const { body } = await gateway.send(
      "POST",
      "/api/whatsapp/messages",
      {
        request_id: newWamid().replace("wamid.", ""),
        message: { from: phone, to: BUSINESS.number, type: "text", text: { body: "In-house" } },
      },
      ACME_KEY,
    );
    expect(body.data).toMatchObject({ user_id: row!.user_id, session_id: row!.session_id });
  });
});

describe("a contact who changes their phone number", () => {
  const changed = (from: string, to: string) =>
    messages({
      id: newWamid(),
      from,
      type: "system",
      system: { type: "user_changed_number", wa_id: to, body: "changed" },
    });

  it.for([
    ["writes next", false],
    ["wrote before the notice", true],
  ] as const)(
    "a contact who changes numbers keeps user, session and history when the new number %s",
    async ([, first], { speak, notify, orchestrator }) => {
      const [before, now] = [newNumber(), newNumber()];
      const old = await speak({ phone: before }, "Before");
      if (first) await speak({ phone: now }, "Already here");
      await notify(changed(before, now));
      expect(await speak({ phone: now }, "After")).toEqual(old);
      expect(orchestrator.calls.at(-1)!.adapter.history.map(({ content }: any) => content)).toContain("Before");
      const stranger = await speak({ phone: before }, "Who is this?");
      expect(stranger.session).not.toBe(old.session);
      expect(orchestrator.calls.at(-1)!.adapter.history).toEqual([]);
    },
  );

  it("a user's name in a notice links nobody else", async ({ speak, notify, orchestrator }) => {
    const [victim, mallory] = [newNumber(), newUserId()];
    const secret = await speak({ phone: victim }, "My secret");
    await notify(
      messages({
        id: newWamid(),
        type: "system",
        system: {
          type: "user_changed_user_id",
          user_id: mallory,
          body: `User from ${victim} to x changed from A to ${mallory}`,
        },
      }),
    );
    const answer = await speak({ userId: mallory }, "Tell me");
    expect(answer.session).not.toBe(secret.session);
    expect(JSON.stringify(orchestrator.calls.at(-1)!.adapter)).not.toContain("My secret");
  });
});

describe("another id of a contact", () => {
  it.for([
    ["a number", { wa_id: newNumber() }],
    ["an id", { user_id: newUserId() }],
  ] as const)(
    "told by a send response, %s leads to the conversation",
    async ([, recipient], { graph, speak, gateway }) => {
      graph.next(takeAs(recipient));
      const first = await speak({ phone: newNumber() }, "Hello");
      await gateway.flush();
      const from = "wa_id" in recipient ? { phone: recipient.wa_id } : { userId: recipient.user_id };
      expect(await speak(from, "Me again")).toEqual(first);
    },
  );

  it("told by a status leads to the conversation, with its history", async ({
    conversation,
    report,
    speak,
    orchestrator,
  }) => {
    const { reply } = await conversation("The first words");
    const [phone, userId] = [newNumber(), newUserId()];
    const { biz_opaque_callback_data } = reply.body;
    await report(
      status(reply, "delivered", { recipient_id: phone, recipient_user_id: userId, biz_opaque_callback_data }),
    );
    await speak({ userId }, "By id");
    await speak({ phone }, "By number");
    expect(orchestrator.calls.at(-1)!.adapter.history.map(({ content }: any) => content)).toEqual(
      expect.arrayContaining(["The first words", "By id"]),
    );
  });
});

describe("a status finds its message", () => {
  it.for([
    ["another number", { recipient_id: "15559990001" }],
    ["a business-scoped id", { recipient_user_id: "US.424242" }],
    ["no recipient", {}],
  ] as const)(
    "a status is matched by the reference when it names %s",
    async ([, recipient], { conversation, report, waitForDelivery }) => {
      const { reply, messageId } = await conversation();
      await waitForDelivery(messageId, "sent");
      await report(
        status(reply, "read", { ...recipient, biz_opaque_callback_data: reply.body.biz_opaque_callback_data }),
      );
      expect(await waitForDelivery(messageId, "read")).toMatchObject({ ids: [reply.id] });
    },
  );

  it.for([
    ["Mexico", "525512345601", "5215512345601"],
    ["Argentina", "541123456702", "5491123456702"],
    ["Brazil", "551187654303", "5511987654303"],
  ] as const)(
    "a status is matched by its id under the other spelling of a number of %s",
    async ([, from, spelled], { conversation, report, waitForDelivery }) => {
      const { reply, messageId } = await conversation("Hola", from);
      await report(status(reply, "read", { recipient_id: spelled }));
      await waitForDelivery(messageId, "read");
    },
  );

  it("a status without reference and recipient is matched in Postgres by its id", async ({
    conversation,
    report,
    waitForDelivery,
  }) => {
    const { reply, messageId } = await conversation();
    await waitForDelivery(messageId, "sent");
    await report(status(reply, "read", {}));
    await waitForDelivery(messageId, "read");
  });

  it("a status of another system's message is acknowledged and changes nothing", async ({ report }) => {
    const { status: code, body } = await report({ id: newWamid(), status: "read", recipient_id: newNumber() });
    expect({ code, data: body.data }).toMatchObject({ code: 200, data: { statuses: 1 } });
  });

  it("a status of a payment does not change the delivery", async ({
    conversation,
    report,
    waitForDelivery,
    delivery,
  }) => {
    const { reply, messageId } = await conversation();
    await waitForDelivery(messageId, "sent");
    await report(
      status(reply, "failed", { type: "payment", biz_opaque_callback_data: reply.body.biz_opaque_callback_data }),
    );
    expect(await delivery(messageId)).toMatchObject({ state: "sent" });
  });

  it("a status of a closed service window sends the template once", async ({
    gateway,
    graph,
    conversation,
    report,
    waitForDelivery,
  }) => {
    const set = async (value: unknown) => {
      await gateway.database.query("update instances set metadata_json = $1 where id = $2", [
        JSON.stringify(value),
        INSTANCE.whatsapp,
      ]);
      gateway.deps().caches.instances.invalidate();
    };
    await set({ whatsapp_template: { name: "come_back", language: "en_US" } });
    const { reply, from, messageId } = await conversation();
    await set({});
    await waitForDelivery(messageId, "sent");
    const failed = status(reply, "failed", {
      errors: [{ code: 131047, title: "Re-engagement message" }],
      biz_opaque_callback_data: reply.body.biz_opaque_callback_data,
    });
    await report(failed);
    const sent = () => graph.sent().filter(({ body }) => body.to === from);
    await vi.waitUntil(() => sent().length === 2, PATIENCE);
    await report(failed);
    expect(sent().map(({ body }) => body.type)).toEqual(["text", "template"]);
    expect(messageIdOf(sent()[1]!)).toBe(messageId);
    const state = await waitForDelivery(messageId, "sent");
    expect(state).toMatchObject({ ids: [sent()[1]!.id], template: { name: "come_back" } });
  });
});

describe("a message of a group", () => {
  const group = () => `12036304${newNumber()}`;
  const deadLetters = async (gateway: { flush(): Promise<void>; database: any }, id: string) => {
    await gateway.flush();
    const rows = await gateway.database.query("select reason, payload_json from dead_letters");
    return rows.filter(({ payload_json }: any) => JSON.parse(payload_json).message.id === id);
  };

  it.for([
    ["text", { type: "text", text: { body: "To all" } }],
    ["image", { type: "image", image: { id: "1", caption: "To all" } }],
    ["reaction", { type: "reaction", reaction: { message_id: "wamid.1", emoji: "👍" } }],
    [
      "edit",
      { type: "edit", edit: { original_message_id: "wamid.1", message: { type: "text", text: { body: "To all" } } } },
    ],
    ["revoke", { type: "revoke", revoke: { original_message_id: "wamid.1" } }],
  ] as const)(
    "a group message of the kind %s is kept apart and not answered",
    async ([, content], { gateway, notify, orchestrator, graph, stored, speak }) => {
      const phone = newNumber();
      const first = await speak({ phone }, "Private");
      const message = { id: newWamid(), from: phone, timestamp: "1749416383", group_id: group(), ...content };
      const before = { calls: orchestrator.calls.length, sent: graph.calls.length };
      expect((await notify(messages(message))).status).toBe(200);
      const found = await vi.waitUntil(async () => {
        const rows = await deadLetters(gateway, message.id);
        return rows.length > 0 && rows;
      }, PATIENCE);
      expect(found).toMatchObject([{ reason: "group_message" }]);
      expect(await stored(message.id)).toEqual([]);
      expect({ calls: orchestrator.calls.length, sent: graph.calls.length }).toEqual(before);
      expect(await speak({ phone }, "Private again")).toEqual(first);
      expect(JSON.stringify(orchestrator.calls.at(-1)!.adapter)).not.toContain("To all");
    },
  );

  it("a group message of the business's own phone reaches no private conversation", async ({
    gateway,
    notify,
    speak,
    orchestrator,
  }) => {
    const phone = newNumber();
    await speak({ phone }, "Private");
    const echoed = { ...text({ phone: BUSINESS.number }, "To all of you"), to: phone, group_id: group() };
    await notify(notification(change({ message_echoes: [echoed] }, "smb_message_echoes")));
    await gateway.flush();
    await speak({ phone }, "Private again");
    expect(JSON.stringify(orchestrator.calls.at(-1)!.adapter)).not.toContain("To all of you");
  });

  it("a group message of the brand's own system is refused, as is a message of the business's own number", async ({
    gateway,
  }) => {
    const send = (message: Record<string, unknown>) =>
      gateway.send(
        "POST",
        "/api/whatsapp/messages",
        {
          request_id: newWamid().replace("wamid.", ""),
          message: { from: newNumber(), to: BUSINESS.number, type: "text", text: { body: "Hello" }, ...message },
        },
        ACME_KEY,
      );
    for (const message of [{ group_id: group() }, { from: BUSINESS.number }]) {
      expect(await send(message)).toMatchObject({ status: 400, body: { error: { code: "VALIDATION_ERROR" } } });
    }
  });
});

describe("a notification that holds no messages to the business", () => {
  it.for(["history", "smb_app_state_sync", "tomorrow"])(
    "a notification of the field %s is acknowledged and not answered",
    async (field, { notify, orchestrator, stored }) => {
      const message = text({ phone: newNumber() }, "Long ago");
      const calls = orchestrator.calls.length;
      expect(await notify(notification(change({ messages: [message] }, field)))).toMatchObject({
        status: 200,
        body: { data: { messages: 0, skipped: 1 } },
      });
      expect(await stored(message.id)).toEqual([]);
      expect(orchestrator.calls.length).toBe(calls);
    },
  );
});
