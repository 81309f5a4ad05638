import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { ACME, ACME_KEY, INSTANCE } from "../../support/demo.ts";
import { startGateway } from "../../support/gateway.ts";
import type { Gateway } from "../../support/gateway.ts";
import { refuse, startGraphApi, takeSilently } from "../../support/graph-api.ts";
import type { GraphApi, GraphCall } from "../../support/graph-api.ts";
import { after, answerWith, echo, gate, startOrchestrator } from "../../support/orchestrator.ts";
import type { OrchestratorStandIn } from "../../support/orchestrator.ts";
import {
  APP_SECRET,
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
} from "../../support/whatsapp.ts";

const PATH = "/webhooks/whatsapp";

let orchestrator: OrchestratorStandIn;
let graph: GraphApi;
let gateway: Gateway;
beforeAll(async () => {
  [orchestrator, graph] = await Promise.all([startOrchestrator(), startGraphApi()]);
  gateway = await startGateway({
    env: {
      ORCHESTRATOR_URL: orchestrator.url,
      RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
      WHATSAPP_APP_SECRET: `a-former-secret,${APP_SECRET}`,
      WHATSAPP_VERIFY_TOKEN: "verify-me",
      WHATSAPP_API_BASE: graph.url,
      WHATSAPP_ACCESS_TOKEN: "EAAtoken",
    },
  });
}, 60_000);
beforeEach(() => orchestrator.behave(echo));
afterAll(async () => {
  await gateway?.close();
  await Promise.all([orchestrator?.close(), graph?.close()]);
});

const post = (body: string, signature: string) =>
  gateway.request(PATH, { method: "POST", headers: { "X-Hub-Signature-256": signature }, body });
const notify = (payload: unknown) => {
  const body = JSON.stringify(payload);
  return post(body, sign(body));
};

const replyTo = (wamid: string): GraphCall | undefined =>
  graph.sent().find(({ body }) => body.context?.message_id === wamid);
const waitForReply = (wamid: string) => vi.waitUntil(() => replyTo(wamid), { timeout: 5_000 });

type Stored = { id: string; role: string; content: string; session_id: string; user_id: string | null; metadata: any };

/** The messages of a channel's ids as Postgres has them, once it has them. */
const stored = async (...wamids: string[]): Promise<Stored[]> => {
  await gateway.flush();
  const rows = await gateway.database.query(
    `select id, role, content, session_id, user_id, metadata_json from messages
     where channel_message_id in (select jsonb_array_elements_text($1::jsonb)) order by created_at, seq`,
    [JSON.stringify(wamids)],
  );
  return rows.map(({ metadata_json, ...row }) => ({ ...row, metadata: JSON.parse(metadata_json!) }) as Stored);
};
const waitForStored = (...wamids: string[]) =>
  vi.waitUntil(
    async () => {
      const rows = await stored(...wamids);
      return rows.length === wamids.length && rows;
    },
    { timeout: 5_000 },
  );

describe("Meta's handshake", () => {
  const ask = (query: string) => gateway.get(`${PATH}?${query}`);

  it("the handshake is answered with the challenge", async () => {
    const reply = await ask("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=verify-me");
    expect({ status: reply.status, type: reply.headers.get("Content-Type"), text: reply.text }).toEqual({
      status: 200,
      type: "text/plain; charset=UTF-8",
      text: "1158201444",
    });
  });

  it.each([
    ["another token", "hub.mode=subscribe&hub.challenge=1&hub.verify_token=other"],
    ["no token", "hub.mode=subscribe&hub.challenge=1"],
    ["another mode", "hub.mode=unsubscribe&hub.challenge=1&hub.verify_token=verify-me"],
    ["nothing", ""],
  ])("the handshake is refused with %s", async (_what, query) => {
    expect(await ask(query)).toMatchObject({ status: 403, body: { error: { code: "FORBIDDEN" } } });
  });
});

describe("a notification", () => {
  it.each([
    ["with one byte changed", (body: string) => [body.replace("Hello", "hello"), sign(body)]],
    ["without a signature", (body: string) => [body, ""]],
    ["signed with another secret", (body: string) => [body, sign(body, "another")]],
  ])("a notification %s is refused and not stored", async (_what, tamper) => {
    const message = text({ phone: newNumber() }, "Hello");
    const addresses = gateway.addresses().length;
    const [body = "", signature = ""] = tamper(JSON.stringify(messages(message)));
    expect(await post(body, signature)).toMatchObject({ status: 401, body: { error: { code: "UNAUTHORIZED" } } });
    expect(gateway.addresses()).toHaveLength(addresses);
  });

  it("a notification signed with the former secret is accepted", async () => {
    const message = text({ phone: newNumber() }, "Hello");
    const body = JSON.stringify(messages(message));
    expect(await post(body, sign(body, "a-former-secret"))).toMatchObject({ status: 200 });
  });

  it.each([
    ["null", 200],
    ["[]", 200],
    ['"text"', 200],
    ['{"object":"page","entry":[{"changes":7}]}', 200],
    ["{", 400],
    ["", 400],
  ])("a notification of %s is answered with %i", async (body, status) => {
    expect((await post(body, sign(body))).status).toBe(status);
  });

  it("a notification of more than 3 MB is refused", async () => {
    const body = JSON.stringify({ padding: "a".repeat(3 * 1024 * 1024) });
    expect((await post(body, sign(body))).status).toBe(413);
  });

  it("a notification is acknowledged before the orchestrator answers", async () => {
    orchestrator.behave(after(1_000));
    const message = text({ phone: newNumber() }, "Hello");
    const reply = await notify(messages(message));
    expect(reply).toMatchObject({ status: 200, body: { data: { messages: 1, duplicates: 0 } } });
    expect(replyTo(message.id)).toBeUndefined();
    await waitForReply(message.id);
  });

  it("every message of a mixed notification reaches its conversation", async () => {
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

describe("a message", () => {
  it("a message is answered through the Graph API and stored with its reply", async () => {
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
      biz_opaque_callback_data: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    const [said] = await waitForStored(message.id);
    expect(said).toMatchObject({
      role: "user",
      content: "Where is my order?",
      metadata: { channel: "whatsapp", whatsapp: { kind: "text", raw: message } },
    });
    const [answer] = await gateway.database.query("select role, content, session_id from messages where id = $1", [
      reply.body.biz_opaque_callback_data,
    ]);
    expect(answer).toEqual({
      role: "assistant",
      content: "echo: Where is my order?",
      session_id: said!.session_id,
    });
  });

  it("a message delivered fifty times at once is one turn and one reply", async () => {
    const message = text({ phone: newNumber() }, "Once");
    const before = orchestrator.calls.length;
    const replies = await Promise.all(Array.from({ length: 50 }, () => notify(messages(message))));
    expect(replies.map(({ status }) => status)).toEqual(Array(50).fill(200));
    await waitForReply(message.id);
    await waitForStored(message.id);
    expect(orchestrator.calls.length - before).toBe(1);
    expect(graph.sent().filter(({ body }) => body.context?.message_id === message.id)).toHaveLength(1);
  });

  it("a message delivered again runs nothing and costs no query", async () => {
    const message = text({ phone: newNumber() }, "Hello");
    await notify(messages(message));
    await waitForReply(message.id);
    gateway.deps().caches.instances.invalidate();
    gateway.roundTrips();
    const calls = orchestrator.calls.length;
    expect(await notify(messages(message))).toMatchObject({ status: 200, body: { data: { duplicates: 1 } } });
    expect({ trips: gateway.roundTrips(), calls: orchestrator.calls.length }).toEqual({ trips: 0, calls });
  });

  it("a message delivered again after its conversation emptied is recognised by Postgres", async () => {
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

  it("the messages of one sender are answered in the order of their admission", async () => {
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

  it("a message to an unknown number or from an unwelcome guest becomes a dead letter", async () => {
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
    const letters = await vi.waitUntil(
      async () => {
        await gateway.flush();
        const rows = await gateway.database.query(
          "select source, reason, brand_id, payload_json from dead_letters order by reason desc",
        );
        return rows.length === 2 && rows;
      },
      { timeout: 5_000 },
    );
    expect(
      letters.map(({ payload_json, ...letter }) => ({ ...letter, id: JSON.parse(payload_json!).message.id })),
    ).toEqual([
      { source: "whatsapp", reason: "no_instance", brand_id: null, id: items[0]!.id },
      { source: "whatsapp", reason: "guests_not_accepted", brand_id: ACME, id: items[1]!.id },
    ]);
    expect(graph.calls.filter(({ body }) => items.some(({ from }) => from === body.to))).toEqual([]);
  });
});

describe("a conversation that is erased", () => {
  it("an erased conversation drops waiting messages and begins anew with the next one", async () => {
    const phone = newNumber();
    const first = text({ phone }, "Hello");
    await notify(messages(first));
    await waitForReply(first.id);
    const [{ session_id: id }] = (await waitForStored(first.id)) as [Stored];

    const { behaviour, open } = gate();
    orchestrator.behave(behaviour);
    const [running, waiting, next] = [text({ phone }, "One"), text({ phone }, "Two"), text({ phone }, "Three")];
    const calls = orchestrator.calls.length;
    await notify(messages(running, waiting));
    await vi.waitUntil(() => orchestrator.calls.length > calls);
    const reply = await gateway.send("DELETE", `/api/v1/conversations/${id}`, undefined, ACME_KEY);
    expect(reply.status).toBe(200);
    open();
    await notify(messages(next, waiting));
    await waitForReply(next.id);
    const left = await stored(first.id, running.id, waiting.id, next.id);
    expect(left.map(({ content }) => content)).toEqual(["Three"]);
    expect(left[0]!.session_id).not.toBe(id);
    expect([replyTo(running.id), replyTo(waiting.id)]).toEqual([undefined, undefined]);
  });
});

describe("somebody whom Postgres was made to forget", () => {
  it("a user deleted from Postgres is a new user with the next message", async () => {
    const phone = newNumber();
    const [first, again] = [text({ phone }, "Forget me"), text({ phone }, "Hello again")];
    await notify(messages(first));
    await waitForReply(first.id);
    const [before] = (await waitForStored(first.id)) as [Stored];
    await gateway.database.query("delete from users where id = $1", [before.user_id]);
    gateway.deps().caches.knownUsers.invalidate();
    await notify(messages(again));
    await waitForReply(again.id);
    const [after] = (await waitForStored(again.id)) as [Stored];
    expect(after.user_id).not.toBe(before.user_id);
    expect(after.session_id).not.toBe(before.session_id);
    expect(orchestrator.calls.at(-1)!.adapter.history).toEqual([]);
  });
});

describe("everything that is published by Meta's examples", () => {
  it.each(fixtures().filter(({ payload }) => payload.entry[0].changes[0].value.messages))(
    "the published example $name is stored once with its type and refused with one byte changed",
    async ({ payload }) => {
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

describe("what becomes of a reply", () => {
  const phone = () => newNumber();
  /** Somebody writes and is answered. */
  const conversation = async (body = "Hello", from = phone()) => {
    const message = text({ phone: from }, body);
    await notify(messages(message));
    const reply = await waitForReply(message.id);
    return { reply, from, messageId: reply.body.biz_opaque_callback_data as string };
  };
  const delivery = async (messageId: string) => {
    await gateway.flush();
    const [row] = await gateway.database.query("select metadata_json from messages where id = $1", [messageId]);
    return JSON.parse(row?.metadata_json ?? "{}").delivery;
  };
  const waitForDelivery = (messageId: string, state: string) =>
    vi.waitUntil(
      async () => {
        const news = await delivery(messageId);
        return news?.state === state && news;
      },
      { timeout: 5_000 },
    );
  const status = (call: GraphCall, status: string, more: Record<string, unknown> = {}) => ({
    id: call.id,
    status,
    timestamp: "1749416383",
    recipient_id: call.body.to,
    biz_opaque_callback_data: call.body.biz_opaque_callback_data,
    ...more,
  });
  const report = (...statuses: Record<string, unknown>[]) => notify(notification(change({ statuses })));

  it("a reply's state is known by its channel id and advances to read in any order of statuses", async () => {
    const { reply, messageId } = await conversation();
    expect(await waitForDelivery(messageId, "sent")).toEqual({ state: "sent", ids: [reply.id] });
    await report(status(reply, "read"), status(reply, "sent"));
    await report(status(reply, "delivered"));
    await report(status(reply, "delivered"));
    expect(await waitForDelivery(messageId, "read")).toEqual({ state: "read", ids: [reply.id] });
  });

  it("a reply's state is shown in the history", async () => {
    const { reply, messageId } = await conversation();
    await waitForDelivery(messageId, "sent");
    await report(status(reply, "delivered"));
    await waitForDelivery(messageId, "delivered");
    const [row] = await gateway.database.query("select session_id from messages where id = $1", [messageId]);
    const { body } = await gateway.get(`/api/v1/conversations/${row!.session_id}/messages`, ACME_KEY);
    const shown = body.data.messages.find(({ id }: { id: string }) => id === messageId);
    expect(shown.metadata.delivery).toMatchObject({ state: "delivered" });
  });

  it("a failed reply has the channel's code and reason", async () => {
    const { reply, messageId } = await conversation();
    await report(
      status(reply, "failed", {
        errors: [{ code: 131026, title: "Message undeliverable", error_data: { details: "Not on WhatsApp" } }],
      }),
    );
    expect((await waitForDelivery(messageId, "failed")).error).toEqual({ code: 131026, reason: "Not on WhatsApp" });
  });

  it("a permanently refused reply is not sent again", async () => {
    graph.next(refuse(400, 131026, "Message undeliverable"));
    const message = text({ phone: phone() }, "Hello");
    const calls = graph.calls.length;
    await notify(messages(message));
    await vi.waitUntil(() => graph.calls.length > calls);
    const { biz_opaque_callback_data: messageId } = graph.calls.at(-1)!.body;
    expect((await waitForDelivery(messageId, "failed")).error).toEqual({
      code: 131026,
      reason: "Message undeliverable",
    });
    expect(graph.calls.length - calls).toBe(1);
  });

  it("a reply without a response is unknown, is not sent again and is settled by its status", async () => {
    graph.next(takeSilently);
    const { reply, messageId } = await conversation();
    expect(await waitForDelivery(messageId, "unknown")).toMatchObject({ error: { code: "NO_ANSWER" } });
    await report(status(reply, "delivered"));
    expect(await waitForDelivery(messageId, "delivered")).toEqual({ state: "delivered", ids: [reply.id] });
    expect(graph.calls.filter(({ body }) => body.biz_opaque_callback_data === messageId)).toHaveLength(1);
  });

  it("a long reply is sent in parts, in order, and has the state of its last part", async () => {
    const words = Array.from({ length: 700 }, (_, index) => `Sentence ${index}.`).join(" ");
    orchestrator.behave(answerWith({ text: words }));
    const { reply, from, messageId } = await conversation();
    const parts = await vi.waitUntil(() => {
      const sent = graph.sent().filter(({ body }) => body.to === from);
      return sent.length === 3 && sent;
    });
    expect(parts.map(({ body }) => body.biz_opaque_callback_data)).toEqual([
      messageId,
      `${messageId}/2`,
      `${messageId}/3`,
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
      text({ phone: phone() }, "Hello", { timestamp: String(Math.floor(Date.now() / 1000) - 25 * 3_600) });

    it("a reply outside the service window is not sent as text", async () => {
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

    it("a reply outside the service window is sent as the instance's template", async () => {
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
      const sent = await vi.waitUntil(() => graph.sent().find(({ body }) => body.to === message.from));
      await set({});
      gateway.deps().caches.instances.invalidate();
      expect(sent.body).toMatchObject({
        type: "template",
        template: { name: "come_back", language: { code: "en_US" } },
      });
      await waitForDelivery(sent.body.biz_opaque_callback_data, "sent");
      expect(graph.calls.filter(({ body }) => body.to === message.from)).toHaveLength(1);
    });
  });
});

describe("one person with two ids", () => {
  const speak = async (from: { phone?: string; userId?: string }, body: string, contacts?: unknown[]) => {
    const message = text(from, body);
    await notify(notification(change({ messages: [message], ...(contacts ? { contacts } : {}) })));
    await waitForReply(message.id);
    const [row] = await waitForStored(message.id);
    return { user: row!.user_id, session: row!.session_id };
  };

  it("a sender seen by number, by both ids and by the id alone has one conversation", async () => {
    const [phone, userId] = [newNumber(), newUserId()];
    const first = await speak({ phone }, "By number");
    const both = await speak({ phone, userId }, "By both");
    const byId = await speak({ userId }, "By id");
    expect([both, byId]).toEqual([first, first]);
    expect(orchestrator.calls.at(-1)!.adapter.history.map(({ content }: any) => content)).toContain("By number");
  });

  it("a sender seen by the id first continues there when the number is seen", async () => {
    const [phone, userId] = [newNumber(), newUserId()];
    const first = await speak({ userId }, "By id");
    const both = await speak({ phone }, "By both", [{ wa_id: phone, user_id: userId }]);
    const byNumber = await speak({ phone }, "By number");
    expect([both, byNumber]).toEqual([first, first]);
  });

  it("a sender without a number is answered by the id", async () => {
    const userId = newUserId();
    const message = text({ userId }, "Hello");
    await notify(messages(message));
    const { body } = await waitForReply(message.id);
    expect({ to: body.to, recipient: body.recipient }).toEqual({ to: undefined, recipient: userId });
  });

  it("a sender with two ids is the same user for the brand's own system", async () => {
    const [phone, userId] = [newNumber(), newUserId()];
    const first = await speak({ userId }, "By id");
    await speak({ phone, userId }, "By both");
    const reply = await gateway.send(
      "POST",
      "/api/whatsapp/messages",
      {
        request_id: newWamid().replace("wamid.", ""),
        message: { from: phone, to: BUSINESS.number, type: "text", text: { body: "In-house" } },
      },
      ACME_KEY,
    );
    expect(reply.body.data).toMatchObject({ user_id: first.user, session_id: first.session });
  });

  it("a status by either id of the sender reaches the reply", async () => {
    const [phone, userId] = [newNumber(), newUserId()];
    const inHouse = () =>
      gateway.send(
        "POST",
        "/api/whatsapp/messages",
        {
          request_id: newWamid().replace("wamid.", ""),
          message: { from: phone, to: BUSINESS.number, type: "text", text: { body: "In-house" } },
        },
        ACME_KEY,
      );
    const before = await inHouse();
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    const byId = await speak({ userId }, "By id");
    await speak({ phone, userId }, "By both");
    // This isolate still takes the number for somebody else's.
    gateway.deps().caches.knownUsers.invalidate();
    await gateway.database.query("update user_identifiers set user_id = $1 where identifier_value = $2", [
      before.body.data.user_id,
      `+${phone}`,
    ]);
    expect((await inHouse()).body.data).toMatchObject({ user_id: byId.user, session_id: byId.session });
  });

  it("a stale id of a sender resolves to the owner of the conversation", async () => {
    const userId = newUserId();
    const message = text({ userId }, "Hello");
    await notify(messages(message));
    const reply = await waitForReply(message.id);
    const status = { id: reply.id, status: "read", recipient_id: newNumber(), recipient_user_id: userId };
    await notify(notification(change({ statuses: [status] })));
    await vi.waitUntil(async () => {
      await gateway.flush();
      const [row] = await gateway.database.query("select metadata_json from messages where id = $1", [
        reply.body.biz_opaque_callback_data,
      ]);
      return JSON.parse(row?.metadata_json ?? "{}").delivery?.state === "read";
    });
  });

  it.each([
    [
      "a system message",
      (previous: string, current: string) =>
        messages({
          id: newWamid(),
          type: "system",
          system: { type: "user_changed_user_id", user_id: current, previous_user_id: previous, body: "changed" },
        }),
    ],
    [
      "an update of its own",
      (previous: string, current: string) =>
        notification(change({ user_id_update: [{ user_id: { previous, current } }] }, "user_id_update")),
    ],
  ])("a sender with a new id, announced by %s, keeps the conversation", async (_what, tell) => {
    const [before, now] = [newUserId(), newUserId()];
    const first = await speak({ userId: before }, "Before");
    await notify(tell(before, now));
    expect(await speak({ userId: now }, "After")).toEqual(first);
  });

  it("a sender with a new number keeps the conversation, and the old number is free", async () => {
    const [before, now] = [newNumber(), newNumber()];
    const first = await speak({ phone: before }, "Before");
    const id = newWamid();
    const system = { type: "user_changed_number", wa_id: now, body: `changed from ${before} to ${now}` };
    await notify(messages({ id, from: before, type: "system", system }));
    await waitForStored(id);
    expect((await speak({ phone: now }, "After")).user).toBe(first.user);
    expect((await speak({ phone: before }, "Somebody else")).user).not.toBe(first.user);
  });
});

describe("what is no message to us", () => {
  it("an echo of the business is stored as its own message and not answered", async () => {
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

  it.each([
    ["a reaction", { type: "reaction", reaction: { message_id: "wamid.1", emoji: "👍" } }, "reaction"],
    ["a withdrawal", { type: "revoke", revoke: { original_message_id: "wamid.1" } }, "revoke"],
    ["a type of tomorrow", { type: "hologram", hologram: { depth: 3 } }, "unsupported"],
  ])("an event of the type %s is stored and not answered", async (_what, content, kind) => {
    const message = { id: newWamid(), from: newNumber(), timestamp: "1749416383", ...content };
    const calls = orchestrator.calls.length;
    await notify(messages(message));
    const [row] = await waitForStored(message.id);
    expect(row!.metadata.whatsapp.kind).toBe(kind);
    expect(orchestrator.calls.length).toBe(calls);
  });
});
