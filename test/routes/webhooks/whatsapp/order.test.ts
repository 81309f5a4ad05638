import { describe, expect, vi } from "vitest";
import { ACME, INSTANCE } from "../../../support/demo.ts";
import { messageIdOf } from "../../../support/graph-api.ts";
import { after, echo } from "../../../support/orchestrator.ts";
import { BUSINESS, change, messages, newNumber, notification, text } from "../../../support/whatsapp.ts";
import { webhookTest } from "../../../support/webhook.ts";
import { PATIENCE } from "../../../support/patience.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("a message", () => {
  it("a message is answered through the Graph API and stored with its reply", async ({
    notify,
    waitForReply,
    waitForStored,
    gateway,
  }) => {
    const from = newNumber();
    const message = text({ phone: from }, "Where is my order?");
    await notify(messages(message));
    const reply = await waitForReply(message.id);
    expect(reply.path).toBe(`/v26.0/${BUSINESS.phoneNumberId}/messages`);
    expect(reply.headers.authorization).toBe("Bearer EAAtoken");
    expect(reply.body).toEqual({
      messaging_product: "whatsapp",
      recipient_type: "individual",
      to: from,
      context: { message_id: message.id },
      type: "text",
      text: { preview_url: false, body: "echo: Where is my order?" },
      biz_opaque_callback_data: expect.stringMatching(/^[0-9a-f-]{36}@[0-9a-f]{22}$/),
    });
    const [said] = await waitForStored(message.id);
    expect(said).toMatchObject({
      role: "user",
      content: "Where is my order?",
      metadata: { channel: "whatsapp", whatsapp: { kind: "text", raw: message } },
    });
    const [answer] = await gateway.database.query("select role, content, session_id from messages where id = $1", [
      messageIdOf(reply),
    ]);
    expect(answer).toEqual({
      role: "assistant",
      content: "echo: Where is my order?",
      session_id: said!.session_id,
    });
  });

  it("a message delivered fifty times at once is one turn and one reply", async ({
    orchestrator,
    notify,
    waitForReply,
    waitForStored,
    graph,
  }) => {
    const message = text({ phone: newNumber() }, "Once");
    const before = orchestrator.calls.length;
    const replies = await Promise.all(Array.from({ length: 50 }, () => notify(messages(message))));
    expect(replies.map(({ status }) => status)).toEqual(Array(50).fill(200));
    await waitForReply(message.id);
    await waitForStored(message.id);
    expect(orchestrator.calls.length - before).toBe(1);
    expect(graph.sent().filter(({ body }) => body.context?.message_id === message.id)).toHaveLength(1);
  });

  it("a message delivered again runs nothing and costs no query", async ({
    notify,
    waitForReply,
    gateway,
    orchestrator,
  }) => {
    const message = text({ phone: newNumber() }, "Hello");
    await notify(messages(message));
    await waitForReply(message.id);
    gateway.deps().caches.instances.invalidate();
    gateway.roundTrips();
    const calls = orchestrator.calls.length;
    expect(await notify(messages(message))).toMatchObject({ status: 200, body: { data: { duplicates: 1 } } });
    expect({ trips: gateway.roundTrips(), calls: orchestrator.calls.length }).toEqual({ trips: 0, calls });
  });

  it("a message delivered again after its conversation emptied is recognised by Postgres", async ({
    notify,
    waitForReply,
    waitForStored,
    gateway,
    orchestrator,
    stored,
  }) => {
    const message = text({ phone: newNumber() }, "Hello");
    await notify(messages(message));
    await waitForReply(message.id);
    await waitForStored(message.id);
    gateway.evictAll({ emptied: true });
    const calls = orchestrator.calls.length;
    await notify(messages(message));
    const next = text({ phone: message.from }, "Next");
    await notify(messages(next));
    await waitForReply(next.id);
    expect(orchestrator.calls.length - calls).toBe(1);
    expect(await stored(message.id)).toHaveLength(1);
  });

  it("the messages of one sender are answered in the order of their admission", async ({
    orchestrator,
    notify,
    waitForReply,
    graph,
    waitForStored,
  }) => {
    orchestrator.behave(after(50));
    const phone = newNumber();
    const items = Array.from({ length: 5 }, (_, index) => text({ phone }, `Message ${index}`));
    for (const item of items) await notify(messages(item));
    await waitForReply(items.at(-1)!.id);
    const replies = graph.sent().filter(({ body }) => body.to === phone);
    expect(replies.map(({ body }) => body.text.body)).toEqual(items.map(({ text }) => `echo: ${text.body}`));
    const rows = await waitForStored(...items.map(({ id }) => id));
    expect(rows.map(({ content }) => content)).toEqual(items.map(({ text }) => text.body));
  });

  it("a message to an unknown number or from an unwelcome guest becomes a dead letter", async ({
    gateway,
    notify,
    graph,
  }) => {
    const elsewhere = { number: "15559997777", phoneNumberId: "9" };
    const guestless = { number: "15559996666", phoneNumberId: "8" };
    await gateway.database.query(
      "update instances set channel = 'whatsapp', recipient_number = $1, phone_number_id = $2 where id = $3",
      [`+${guestless.number}`, guestless.phoneNumberId, INSTANCE.guestless],
    );
    const items = [text({ phone: newNumber() }, "Anybody?"), text({ phone: newNumber() }, "May I?")];
    await notify(
      notification(
        change({ messages: [items[0]] }, "messages", elsewhere),
        change({ messages: [items[1]] }, "messages", guestless),
      ),
    );
    const letters = await vi.waitUntil(async () => {
      await gateway.flush();
      const rows = await gateway.database.query(
        "select source, reason, brand_id, payload_json from dead_letters order by reason desc",
      );
      return rows.length === 2 && rows;
    }, PATIENCE);
    expect(
      letters.map(({ payload_json, ...letter }) => ({ ...letter, id: JSON.parse(payload_json!).message.id })),
    ).toEqual([
      { source: "whatsapp", reason: "no_instance", brand_id: null, id: items[0]!.id },
      { source: "whatsapp", reason: "guests_not_accepted", brand_id: ACME, id: items[1]!.id },
    ]);
    expect(graph.calls.filter(({ body }) => items.some(({ from }) => from === body.to))).toEqual([]);
  });
});
