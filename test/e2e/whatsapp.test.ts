import fc from "fast-check";
import { describe, expect, vi } from "vitest";
import { ACME_KEY } from "../support/demo.ts";
import { hang, messageIdOf, take } from "../support/graph-api.ts";
import type { GraphCall } from "../support/graph-api.ts";
import { echo, gate } from "../support/orchestrator.ts";
import { mangled } from "../support/mangle.ts";
import {
  BUSINESS,
  change,
  fixtures,
  messages,
  newNumber,
  newWamid,
  notification,
  sign,
  text,
} from "../support/whatsapp.ts";
import { serviceTest } from "../support/fixtures.ts";

/** Long enough for the alarm that finds what a crash left behind. */
const PATIENCE = { timeout: 45_000, interval: 100 };

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator, graph, proxy }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    WHATSAPP_API_BASE: graph.url,
    WHATSAPP_ACCESS_TOKEN: "EAAtoken",
    NEON_ENDPOINT: proxy.url,
  }))
  /** Somebody writes. */
  .extend("write", { scope: "file" }, ({ graph }) => async (body: string, from = newNumber()) => {
    const message = text({ phone: from }, body);
    expect(await graph.notify(messages(message))).toBe(200);
    return message;
  })
  .extend(
    "callsFor",
    { scope: "file" },
    ({ graph }) =>
      (wamid: string): GraphCall[] =>
        graph.calls.filter(({ body }) => body.context?.message_id === wamid),
  )
  .extend(
    "waitForReply",
    { scope: "file" },
    ({ callsFor }) =>
      (wamid: string) =>
        vi.waitUntil(() => callsFor(wamid).find(({ id }) => id !== null), PATIENCE),
  )
  .extend(
    "stored",
    { scope: "file" },
    ({ service }) =>
      (wamid: string) =>
        service.query("select role, content, session_id, metadata_json from messages where channel_message_id = $1", [
          wamid,
        ]),
  )
  .extend(
    "waitForStored",
    { scope: "file" },
    ({ stored }) =>
      (wamid: string) =>
        vi.waitUntil(async () => (await stored(wamid))[0], PATIENCE),
  )
  .extend("deliveryOf", { scope: "file" }, ({ service }) => async (reply: GraphCall) => {
    const [row] = await service.query("select metadata_json from messages where id = $1", [messageIdOf(reply)]);
    return JSON.parse(row?.metadata_json ?? "{}").delivery;
  })
  .extend(
    "waitForDelivery",
    { scope: "file" },
    ({ deliveryOf }) =>
      (reply: GraphCall, state: string) =>
        vi.waitUntil(async () => {
          const delivery = await deliveryOf(reply);
          return delivery?.state === state && delivery;
        }, PATIENCE),
  );
it.beforeAll(({ graph, service }) => {
  graph.webhook = `${service.url}/webhooks/whatsapp`;
});

it.beforeEach(({ orchestrator }) => orchestrator.behave(echo));
it.afterEach(({ proxy }) => proxy.back());

describe("a conversation on WhatsApp", () => {
  it("a WhatsApp conversation with duplicate, batched, reordered and late statuses is stored completely", async ({
    write,
    waitForReply,
    graph,
    waitForDelivery,
    waitForStored,
    service,
  }) => {
    const from = newNumber();
    const first = await write("Where is my order?", from);
    const reply = await waitForReply(first.id);
    const second = await write("And the invoice?", from);
    const other = await waitForReply(second.id);
    expect([reply, other].map(({ body }) => [body.to, body.text.body])).toEqual([
      [from, "echo: Where is my order?"],
      [from, "echo: And the invoice?"],
    ]);
    await graph.report([reply, "read"], [other, "sent"], [reply, "delivered"]);
    await graph.report([reply, "sent"], [other, "delivered"]);
    await graph.report([other, "delivered"], [other, "delivered"]);
    await waitForDelivery(reply, "read");
    await waitForDelivery(other, "delivered");
    await graph.report([other, "read"]);
    await waitForDelivery(other, "read");

    const { session_id: sessionId = null } = await waitForStored(second.id);
    const rows = await service.query("select role, content from messages where session_id = $1 order by seq", [
      sessionId,
    ]);
    expect(rows).toEqual([
      { role: "user", content: "Where is my order?" },
      { role: "assistant", content: "echo: Where is my order?" },
      { role: "user", content: "And the invoice?" },
      { role: "assistant", content: "echo: And the invoice?" },
    ]);
    const history = await service.request(`/api/v1/conversations/${sessionId}/messages`, {
      headers: { Authorization: `Bearer ${ACME_KEY}` },
    });
    const states = history.body.data.messages.map(({ metadata }: any) => metadata.delivery?.state);
    expect(states).toEqual(["read", undefined, "read", undefined]);
  });

  it("every published example is stored once with its type", async ({ graph, waitForStored, stored }) => {
    const examples = fixtures().flatMap(({ payload }) => {
      const { value } = payload.entry[0].changes[0];
      const [item] = value.messages ?? [];
      if (item === undefined) return [];
      Object.assign(item, { id: newWamid(), from: newNumber() });
      value.metadata = { display_phone_number: BUSINESS.number, phone_number_id: BUSINESS.phoneNumberId };
      delete value.contacts;
      return [{ payload, item }];
    });
    for (const { payload } of examples) {
      expect([await graph.notify(payload), await graph.notify(payload)]).toEqual([200, 200]);
    }
    for (const { item } of examples) {
      const row = await waitForStored(item.id);
      expect(JSON.parse(row.metadata_json!).whatsapp.raw).toMatchObject(item);
      expect(await stored(item.id)).toHaveLength(1);
    }
  });

  it("a notification with one byte changed is 401 and stores nothing", async ({
    service,
    write,
    waitForStored,
    stored,
  }) => {
    const message = text({ phone: newNumber() }, "Hello");
    const body = JSON.stringify(messages(message));
    const reply = await service.say("/webhooks/whatsapp", body.replace("Hello", "hello"), {
      "X-Hub-Signature-256": sign(body),
    });
    expect(reply.status).toBe(401);
    const next = await write("Next", message.from);
    await waitForStored(next.id);
    expect(await stored(message.id)).toEqual([]);
  });
});

describe("a message is admitted", () => {
  it("a message delivered fifty times at once is one turn and one reply", async ({
    orchestrator,
    graph,
    waitForDelivery,
    waitForReply,
    callsFor,
  }) => {
    const message = text({ phone: newNumber() }, "Once");
    const before = orchestrator.calls.length;
    const statuses = await Promise.all(Array.from({ length: 50 }, () => graph.notify(messages(message))));
    expect(statuses).toEqual(Array(50).fill(200));
    await waitForDelivery(await waitForReply(message.id), "sent");
    expect(callsFor(message.id)).toHaveLength(1);
    expect(orchestrator.calls.length - before).toBe(1);
  });

  it("a message is accepted while the orchestrator is slow and Postgres is silent", async ({
    orchestrator,
    proxy,
    write,
    callsFor,
    waitForReply,
  }) => {
    const { behaviour, open } = gate();
    orchestrator.behave(behaviour);
    proxy.always("hang");
    const first = await write("Are you there?");
    const known = await write("Hello?", first.from);
    expect(callsFor(first.id)).toEqual([]);
    await proxy.back();
    open();
    await waitForReply(first.id);
    await waitForReply(known.id);
  });

  it("a message delivered again costs no query, also from the brand's own system", async ({
    write,
    waitForDelivery,
    waitForReply,
    service,
    proxy,
    graph,
  }) => {
    const message = await write("Once");
    await waitForDelivery(await waitForReply(message.id), "sent");
    const request = {
      request_id: newWamid().replace("wamid.", ""),
      message: { from: newNumber(), to: BUSINESS.number, type: "text", text: { body: "In-house" } },
    };
    const first = await service.say("/api/whatsapp/messages", request);
    expect(first.status).toBe(200);
    // The last of what is written of both is in Postgres: from here on the service is silent by itself.
    await vi.waitUntil(async () => {
      const rows = await service.query("select 1 from messages where request_id = $1", [request.request_id]);
      return rows.length === 2;
    }, PATIENCE);
    const before = proxy.requests;
    expect(await graph.notify(messages(message))).toBe(200);
    const again = await service.say("/api/whatsapp/messages", request);
    expect(again.body.error.details).toMatchObject({ state: "completed", cached_response: first.body.data });
    expect(proxy.requests - before).toBe(0);
  });
});

describe("a crash", () => {
  it("a crash right after the acknowledgement loses nothing, and the reply is sent once", async ({
    orchestrator,
    write,
    service,
    waitForReply,
    waitForDelivery,
    callsFor,
    stored,
  }) => {
    const { behaviour } = gate();
    orchestrator.behave(behaviour);
    const message = await write("Don't forget me");
    await service.kill();
    orchestrator.behave(echo);
    await service.restart();
    const reply = await waitForReply(message.id);
    await waitForDelivery(reply, "sent");
    expect(callsFor(message.id)).toHaveLength(1);
    expect(await stored(message.id)).toHaveLength(1);
  });

  it("a reply interrupted by a crash is unknown, is not sent again and is settled by its status", async ({
    graph,
    write,
    waitForReply,
    service,
    waitForDelivery,
    callsFor,
  }) => {
    graph.next(hang);
    const message = await write("On its way");
    const reply = await waitForReply(message.id);
    await service.kill();
    await service.restart();
    expect(await waitForDelivery(reply, "unknown")).toMatchObject({ error: { code: "NO_ANSWER" } });
    await graph.report([reply, "delivered"]);
    await waitForDelivery(reply, "delivered");
    expect(callsFor(message.id)).toHaveLength(1);
  });
});

describe("a reply", () => {
  it("a reply waits for the pair rate limit and is sent afterwards", async ({
    graph,
    write,
    waitForReply,
    waitForDelivery,
    callsFor,
  }) => {
    graph.pairWindowMs = 3_000;
    const from = newNumber();
    const first = await write("One", from);
    await waitForReply(first.id);
    const second = await write("Two", from);
    const reply = await waitForReply(second.id);
    graph.pairWindowMs = 0;
    await waitForDelivery(reply, "sent");
    expect(callsFor(second.id).map(({ id }) => id === null)).toEqual([true, false]);
  });

  it("a reply is sent again after a transient refusal", async ({
    graph,
    write,
    waitForDelivery,
    waitForReply,
    callsFor,
  }) => {
    graph.next((_call, response) => void response.writeHead(503).end(), take);
    const message = await write("Hello");
    await waitForDelivery(await waitForReply(message.id), "sent");
    expect(callsFor(message.id)).toHaveLength(2);
  });
});

describe("a notification that is mangled", () => {
  it(
    "a mangled notification never causes a server error and loses no neighbour",
    { timeout: 120_000 },
    async ({ graph, service }) => {
      const items = fixtures().flatMap(({ payload }) => payload.entry[0].changes[0].value.messages ?? []);
      const good: string[] = [];
      await fc.assert(
        fc.asyncProperty(
          fc.array(mangled(items), { maxLength: 5 }),
          fc.array(mangled(items), { maxLength: 5 }),
          mangled(fixtures().map(({ payload }) => payload.entry[0])),
          async (before, after, entry) => {
            const message = text({ phone: newNumber() }, "good");
            good.push(message.id);
            const payload = notification(change({ messages: [...before, message, ...after] }));
            expect(await graph.notify({ ...payload, entry: [entry, ...payload.entry] })).toBe(200);
          },
        ),
        { numRuns: 60 },
      );
      await vi.waitUntil(async () => {
        const rows = await service.query(
          "select 1 from messages where content = 'good' and channel_message_id in (select jsonb_array_elements_text($1::jsonb))",
          [JSON.stringify(good)],
        );
        return rows.length === good.length;
      }, PATIENCE);
    },
  );
});
