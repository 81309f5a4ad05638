import { describe, expect, vi } from "vitest";
import { readReference } from "../../../../src/domain/delivery.ts";
import { ACME_KEY, INSTANCE } from "../../../support/demo.ts";
import { messageIdOf, refuse, takeSilently } from "../../../support/graph-api.ts";
import type { GraphCall } from "../../../support/graph-api.ts";
import { answerWith, echo } from "../../../support/orchestrator.ts";
import { newNumber, messages, text } from "../../../support/whatsapp.ts";
import { webhookTest } from "../../../support/webhook.ts";
import { PATIENCE } from "../../../support/patience.ts";

const it = webhookTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));

describe("what becomes of a reply", () => {
  const status = (call: GraphCall, status: string, more: Record<string, unknown> = {}) => ({
    id: call.id,
    status,
    timestamp: "1749416383",
    recipient_id: call.body.to,
    biz_opaque_callback_data: call.body.biz_opaque_callback_data,
    ...more,
  });

  it("a reply's state is known by its channel id and advances to read in any order of statuses", async ({
    conversation,
    waitForDelivery,
    report,
  }) => {
    const { reply, messageId } = await conversation();
    expect(await waitForDelivery(messageId, "sent")).toEqual({ state: "sent", ids: [reply.id] });
    await report(status(reply, "read"), status(reply, "sent"));
    await report(status(reply, "delivered"));
    await report(status(reply, "delivered"));
    expect(await waitForDelivery(messageId, "read")).toEqual({ state: "read", ids: [reply.id] });
  });

  it("a reply's state is shown in the history", async ({ conversation, waitForDelivery, report, gateway }) => {
    const { reply, messageId } = await conversation();
    await waitForDelivery(messageId, "sent");
    await report(status(reply, "delivered"));
    await waitForDelivery(messageId, "delivered");
    const [row] = await gateway.database.query("select session_id from messages where id = $1", [messageId]);
    const { body } = await gateway.get(`/api/v1/conversations/${row!.session_id}/messages`, ACME_KEY);
    const shown = body.data.messages.find(({ id }: { id: string }) => id === messageId);
    expect(shown.metadata.delivery).toMatchObject({ state: "delivered" });
  });

  it("a failed reply has the channel's code and reason", async ({ conversation, report, waitForDelivery }) => {
    const { reply, messageId } = await conversation();
    await report(
      status(reply, "failed", {
        errors: [{ code: 131026, title: "Message undeliverable", error_data: { details: "Not on WhatsApp" } }],
      }),
    );
    expect((await waitForDelivery(messageId, "failed")).error).toEqual({ code: 131026, reason: "Not on WhatsApp" });
  });

  it("a permanently refused reply is not sent again", async ({ graph, notify, waitForDelivery }) => {
    graph.next(refuse(400, 131026, "Message undeliverable"));
    const message = text({ phone: newNumber() }, "Hello");
    const calls = graph.calls.length;
    await notify(messages(message));
    await vi.waitUntil(() => graph.calls.length > calls, PATIENCE);
    const messageId = messageIdOf(graph.calls.at(-1)!);
    expect((await waitForDelivery(messageId, "failed")).error).toEqual({
      code: 131026,
      reason: "Message undeliverable",
    });
    expect(graph.calls.length - calls).toBe(1);
  });

  it("a reply without a response is unknown, is not sent again and is settled by its status", async ({
    graph,
    conversation,
    waitForDelivery,
    report,
  }) => {
    graph.next(takeSilently);
    const { reply, messageId } = await conversation();
    expect(await waitForDelivery(messageId, "unknown")).toMatchObject({ error: { code: "NO_ANSWER" } });
    await report(status(reply, "delivered"));
    expect(await waitForDelivery(messageId, "delivered")).toEqual({ state: "delivered", ids: [reply.id] });
    expect(graph.calls.filter((call) => messageIdOf(call) === messageId)).toHaveLength(1);
  });

  it("a long reply is sent in parts, in order, and has the state of its last part", async ({
    orchestrator,
    conversation,
    graph,
    report,
    waitForDelivery,
  }) => {
    const words = Array.from({ length: 700 }, (_, index) => `Sentence ${index}.`).join(" ");
    orchestrator.behave(answerWith({ text: words }));
    const { reply, from, messageId } = await conversation();
    const parts = await vi.waitUntil(() => {
      const sent = graph.sent().filter(({ body }) => body.to === from);
      return sent.length === 3 && sent;
    }, PATIENCE);
    expect(parts.map(({ body }) => readReference(body.biz_opaque_callback_data))).toMatchObject([
      { messageId, part: 1 },
      { messageId, part: 2 },
      { messageId, part: 3 },
    ]);
    expect(parts.map(({ body }) => body.text.body).join(" ")).toBe(words);
    expect(parts.map(({ body }) => body.context?.message_id)).toEqual([
      reply.body.context.message_id,
      undefined,
      undefined,
    ]);
    await report(...parts.slice(0, 2).map((part) => status(part, "read")));
    expect((await waitForDelivery(messageId, "sent")).ids).toEqual(parts.map(({ id }) => id));
    await report(status(parts[2]!, "delivered"));
    await waitForDelivery(messageId, "delivered");
  });

  describe("to somebody who last wrote more than 24 hours ago", () => {
    const late = () =>
      text({ phone: newNumber() }, "Hello", { timestamp: String(Math.floor(Date.now() / 1000) - 25 * 3_600) });

    it("a reply outside the service window is not sent as text", async ({
      notify,
      waitForStored,
      gateway,
      waitForDelivery,
      graph,
    }) => {
      const message = late();
      await notify(messages(message));
      const [said] = await waitForStored(message.id);
      const [row] = await gateway.database.query(
        "select id from messages where session_id = $1 and role = 'assistant'",
        [said!.session_id],
      );
      expect((await waitForDelivery(row!.id!, "failed")).error.code).toBe("WINDOW_CLOSED");
      expect(graph.calls.filter(({ body }) => body.to === message.from)).toEqual([]);
    });

    it("a reply outside the service window is sent as the instance's template", async ({
      gateway,
      orchestrator,
      notify,
      graph,
      waitForDelivery,
    }) => {
      const template = { name: "come_back", language: "en_US" };
      const set = (value: unknown) =>
        gateway.database.query("update instances set metadata_json = $1 where id = $2", [
          JSON.stringify(value),
          INSTANCE.whatsapp,
        ]);
      await set({ whatsapp_template: template });
      gateway.deps().caches.instances.invalidate();
      orchestrator.behave(answerWith({ text: "A long answer. ".repeat(500) }));
      const message = late();
      await notify(messages(message));
      const sent = await vi.waitUntil(() => graph.sent().find(({ body }) => body.to === message.from), PATIENCE);
      await set({});
      gateway.deps().caches.instances.invalidate();
      expect(sent.body).toMatchObject({
        type: "template",
        template: { name: "come_back", language: { code: "en_US" } },
      });
      await waitForDelivery(messageIdOf(sent), "sent");
      expect(graph.calls.filter(({ body }) => body.to === message.from)).toHaveLength(1);
    });
  });
});
