import { beforeEach, describe, expect } from "vitest";
import { ACME, ACME_KEY, GLOBEX, INSTANCE } from "../support/demo.ts";
import { refuse } from "../support/graph-api.ts";
import { messages as messagesOf, newNumber, text as textMessage } from "../support/whatsapp.ts";
import { serviceTest } from "../support/fixtures.ts";
import { PATIENCE } from "../support/patience.ts";

const NOBODY = "00000000-0000-4000-8000-0000000fffff";
const KEY = { Authorization: `Bearer ${ACME_KEY}` };

const it = serviceTest()
  .extend("env", { scope: "file" }, ({ orchestrator, graph }) => ({
    ORCHESTRATOR_URL: orchestrator.url,
    WHATSAPP_API_BASE: graph.url,
    WHATSAPP_ACCESS_TOKEN: "EAAtoken",
  }))
  .extend("people", { scope: "file" }, ({ service }) => async (count: number, brandId = ACME): Promise<string[]> => {
    const rows = await service.query(
      "insert into users (brand_id, tier) select $1::uuid, 'standard' from generate_series(1, $2::int) returning id",
      [brandId, String(count)],
    );
    return rows.map(({ id }) => id ?? "");
  })
  .extend(
    "send",
    { scope: "file" },
    ({ service }) =>
      (requestId: string, userIds: string[], instance_id: string = INSTANCE.chat) =>
        service.insist("/api/broadcast", { instance_id, request_id: requestId, content: text, user_ids: userIds }, KEY),
  )
  .extend(
    "progress",
    { scope: "file" },
    ({ service }) =>
      async (id: string) =>
        (await service.request(`/api/broadcasts/${id}`, { headers: KEY })).body.data,
  )
  .extend(
    "recipient",
    { scope: "file" },
    ({ progress }) =>
      async (id: string, userId: string) =>
        (await progress(id)).recipients.find(({ user_id }: any) => user_id === userId),
  )
  .extend("recipients", { scope: "file" }, ({ service }) => async (state: string): Promise<number> => {
    const [row] = await service.query(
      "select count(*) as n from broadcast_recipients r join broadcasts b on b.id = r.broadcast_id where b.content = $1 and r.state = $2",
      [text, state],
    );
    return Number(row?.n);
  })
  /** Every message of a broadcast that is in Postgres: of which, and whose. */
  .extend(
    "messages",
    { scope: "file" },
    ({ service }) =>
      () =>
        service.query(
          `select m.id, m.metadata_json ->> 'broadcast_id' as broadcast, s.user_id as person, m.role
     from messages m join sessions s on s.id = m.session_id where m.content = $1`,
          [text],
        ),
  )
  /** Somebody of whom no more is known than their number. */
  .extend("personAt", { scope: "file" }, ({ people, service }) => async (number: string): Promise<string> => {
    const [person = ""] = await people(1);
    await service.query(
      `insert into user_identifiers (user_id, brand_id, channel, identifier_type, identifier_value)
       values ($1, $2, 'whatsapp', 'phone_e164', $3)`,
      [person, ACME, `+${number}`],
    );
    return person;
  })
  .extend(
    "sentTo",
    { scope: "file" },
    ({ graph }) =>
      (number: string) =>
        graph.sent().filter(({ body }) => body.to === number),
  );
it.beforeAll(({ graph, service }) => {
  graph.webhook = `${service.url}/webhooks/whatsapp`;
});

/** What the test at hand says to everybody: nothing else says it. */
let text: string;
beforeEach(({ task }) => {
  text = `We are open again: ${task.name}`;
});

describe("a brand that tells a hundred people something", () => {
  it("a broadcast to a hundred users is accepted at once and delivered soon after [G1.5.1, G1.5.4]", async ({
    people,
    send,
    progress,
    messages,
  }) => {
    const crowd = await people(98);
    const [foreign = ""] = await people(1, GLOBEX);
    const { status, body } = await send("hundred", [...crowd.slice(0, 97), NOBODY, foreign, crowd[0] ?? ""]);
    expect(status).toBe(200);
    expect(body.data.summary).toEqual({ total: 99, successful: 97, failed: 2 });
    expect((await progress(body.data.broadcast_id)).state).toBe("sending");

    const promised = body.data.results.flatMap(({ success, user_id, message_id }: any) =>
      success ? [`${user_id} ${message_id}`] : [],
    );
    await expect.poll(async () => (await messages()).length, PATIENCE).toBe(97);
    expect((await messages()).map(({ person, id }) => `${person} ${id}`).toSorted()).toEqual(promised.toSorted());
    expect(await progress(body.data.broadcast_id)).toMatchObject({ state: "completed", counts: { sent: 97 } });
  });

  it("a broadcast to an unknown instance is refused [G1.5.2]", async ({ service }) => {
    const body = { instance_id: INSTANCE.inactive, request_id: "nowhere", content: text, user_ids: [NOBODY] };
    expect((await service.insist("/api/broadcast", body, KEY)).status).toBe(404);
  });

  it("a broadcast continues an open session and begins one for a user without [G1.5.3]", async ({
    service,
    people,
    send,
    messages,
    orchestrator,
  }) => {
    const message = { instance_id: INSTANCE.chat, request_id: "hello", content: "Hello", user: { device_id: "ann" } };
    const { session_id, user_id } = (await service.insist("/api/messages", message)).body.data;
    const [bob = ""] = await people(1);
    await send("both", [user_id, bob]);
    await expect.poll(async () => (await messages()).length, PATIENCE).toBe(2);
    const sessions = await service.query("select id, user_id from sessions where user_id in ($1, $2)", [user_id, bob]);
    expect(sessions).toHaveLength(2);
    expect(sessions).toContainEqual({ id: session_id, user_id });
    expect(sessions.map((session) => session.user_id)).toContain(bob);

    // What was said to everybody is part of what the model knows of this conversation.
    await service.say("/api/messages", { ...message, request_id: "again", content: "Are you?" });
    expect(orchestrator.calls.at(-1)?.adapter.history).toContainEqual({ role: "assistant", content: text });
  });
});

describe("a broadcast on WhatsApp", () => {
  it("a WhatsApp broadcast is text within the service window, fails outside without a template, and is sent by a retry once the user wrote", async ({
    graph,
    sentTo,
    service,
    personAt,
    people,
    send,
    progress,
    recipient,
    messages,
    orchestrator,
  }) => {
    const ann = newNumber();
    expect(await graph.notify(messagesOf(textMessage({ phone: ann }, "Hello")))).toBe(200);
    await expect.poll(() => sentTo(ann).length, PATIENCE).toBe(1);
    const [known] = await service.query("select user_id from user_identifiers where identifier_value = $1", [
      `+${ann}`,
    ]);
    const bob = newNumber();
    const [silent, numberless = ""] = [await personAt(bob), ...(await people(1))];

    const { body } = await send("whatsapp", [known?.user_id ?? "", silent, numberless], INSTANCE.whatsapp);
    const id: string = body.data.broadcast_id;
    await expect.poll(async () => (await progress(id)).deliveries, PATIENCE).toEqual({ sent: 1 });
    expect(sentTo(ann).at(-1)?.body).toMatchObject({ type: "text", text: { body: text } });
    expect(sentTo(bob)).toEqual([]);
    expect((await progress(id)).counts).toMatchObject({ sent: 1, failed: 2 });
    expect(await recipient(id, silent)).toMatchObject({
      state: "failed",
      error: { code: "WINDOW_CLOSED" },
      delivery: null,
    });
    expect(await recipient(id, numberless)).toMatchObject({ state: "failed", error: { code: "RESOURCE_NOT_FOUND" } });

    const sessions = await service.query("select id from sessions where user_id = $1", [known?.user_id ?? ""]);
    expect(sessions).toHaveLength(1);
    expect((await messages()).map(({ person }) => person)).toEqual([known?.user_id]);

    await graph.notify(messagesOf(textMessage({ phone: bob }, "Hello")));
    await expect.poll(() => sentTo(bob).length, PATIENCE).toBe(1);
    expect(orchestrator.calls.at(-1)?.adapter.history).toEqual([]);
    await service.request(`/api/broadcasts/${id}/retry`, { method: "POST", headers: KEY });
    await expect.poll(() => sentTo(bob).length, PATIENCE).toBe(2);
    await expect.poll(async () => (await recipient(id, silent)).state, PATIENCE).toBe("sent");
    expect(await recipient(id, silent)).toMatchObject({ error: null });
  });

  it("a WhatsApp broadcast that the channel refuses fails with the channel's reason, and a retry sends it again", async ({
    graph,
    sentTo,
    service,
    send,
    recipient,
    progress,
    orchestrator,
  }) => {
    const ann = newNumber();
    await graph.notify(messagesOf(textMessage({ phone: ann }, "Hello")));
    await expect.poll(() => sentTo(ann).length, PATIENCE).toBe(1);
    const [known] = await service.query("select user_id from user_identifiers where identifier_value = $1", [
      `+${ann}`,
    ]);
    const user = known?.user_id ?? "";
    graph.next(refuse(400, 131026, "Message undeliverable"));
    const { body } = await send("refused", [user], INSTANCE.whatsapp);
    const id: string = body.data.broadcast_id;
    await expect.poll(async () => (await recipient(id, user)).state, PATIENCE).toBe("failed");
    expect(await recipient(id, user)).toMatchObject({ error: { code: "131026", message: "Message undeliverable" } });
    expect(await progress(id)).toMatchObject({ counts: { sent: 0, failed: 1 }, deliveries: { failed: 1 } });
    const failed = await service.request(`/api/broadcasts/${id}?state=failed`, { headers: KEY });
    expect(failed.body.data.recipients).toHaveLength(1);

    await graph.notify(messagesOf(textMessage({ phone: ann }, "Anything new?")));
    await expect.poll(() => sentTo(ann).length, PATIENCE).toBe(2);
    expect(orchestrator.calls.at(-1)?.adapter.history.map(({ content }: any) => content)).not.toContain(text);

    await service.request(`/api/broadcasts/${id}/retry`, { method: "POST", headers: KEY });
    await expect.poll(async () => (await recipient(id, user)).delivery?.state, PATIENCE).toBe("sent");
    expect(await recipient(id, user)).toMatchObject({ state: "sent", error: null });
    expect(sentTo(ann).at(-1)?.body).toMatchObject({ text: { body: text } });
    await graph.notify(messagesOf(textMessage({ phone: ann }, "And now?")));
    await expect.poll(() => sentTo(ann).length, PATIENCE).toBe(4);
    expect(orchestrator.calls.at(-1)?.adapter.history.map(({ content }: any) => content)).toContain(text);
  });

  it("a WhatsApp broadcast outside the service window is the instance's template", async ({
    service,
    personAt,
    send,
    sentTo,
    recipient,
    progress,
    graph,
    orchestrator,
  }) => {
    const template = {
      name: "news",
      language: "en_US",
      components: [{ type: "body", parameters: [{ type: "text", text: "spring" }] }],
      text: "There is news about {{1}}.",
    };
    await service.query(
      "update instances set metadata_json = jsonb_build_object('whatsapp_template', $2::jsonb) where id = $1",
      [INSTANCE.whatsapp, JSON.stringify(template)],
    );
    const bob = newNumber();
    const user = await personAt(bob);
    const { body } = await send("template", [user], INSTANCE.whatsapp);
    await expect.poll(() => sentTo(bob).length, PATIENCE).toBe(1);
    expect(sentTo(bob)[0]?.body).toMatchObject({
      type: "template",
      template: { name: "news", language: { code: "en_US" } },
    });
    expect(sentTo(bob)[0]?.body.template).not.toHaveProperty("text");

    const id: string = body.data.broadcast_id;
    const named = { name: "news", language: "en_US" };
    await expect
      .poll(async () => (await recipient(id, user)).delivery, PATIENCE)
      .toMatchObject({
        state: "sent",
        template: named,
      });
    const said = "There is news about spring.";
    const [{ message_id: messageId }] = (await progress(id)).recipients;
    expect(
      await service.query(
        "select content, metadata_json #>> '{delivery,template,name}' as template from messages where id = $1",
        [messageId],
      ),
    ).toEqual([{ content: said, template: "news" }]);
    await graph.notify(messagesOf(textMessage({ phone: bob }, "Which news?")));
    await expect.poll(() => sentTo(bob).length, PATIENCE).toBe(2);
    expect(orchestrator.calls.at(-1)?.adapter.history).toEqual([{ role: "assistant", content: said }]);
  });
});

describe("twenty broadcasts to a hundred people, and a crash in the middle", () => {
  it(
    "twenty broadcasts to a hundred users survive a crash and reach each user once",
    { timeout: 180_000 },
    async ({ people, send, recipients, service, messages }) => {
      const crowd = await people(100);
      const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => send(`crash-${index}`, crowd)));
      expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 20 }, () => 200));
      await expect.poll(() => recipients("sent"), { ...PATIENCE, interval: 10 }).toBeGreaterThan(100);
      await service.kill();
      await service.restart();

      expect(await recipients("sent")).toBeLessThan(2_000);
      await expect.poll(() => recipients("sent"), { timeout: 90_000, interval: 500 }).toBe(2_000);
      await expect.poll(async () => (await messages()).length, PATIENCE).toBe(2_000);
      const pairs = (await messages()).map(({ broadcast, person }) => `${broadcast} ${person}`);
      expect(new Set(pairs).size).toBe(2_000);
      expect(await service.query("select reason from dead_letters")).toEqual([]);
    },
  );
});

describe("broadcasts that are cancelled in the middle", () => {
  it(
    "cancelled broadcasts account for every user and reach none that was unclaimed",
    { timeout: 120_000 },
    async ({ people, send, recipients, service, progress, messages }) => {
      const crowd = await people(100);
      const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => send(`cancel-${index}`, crowd)));
      const ids: string[] = answers.map(({ body }) => body.data.broadcast_id);
      await expect.poll(() => recipients("sent"), { ...PATIENCE, interval: 10 }).toBeGreaterThan(0);
      const cancelled = await Promise.all(
        ids.map((id) => service.request(`/api/broadcasts/${id}/cancel`, { method: "POST", headers: KEY })),
      );
      const claimed = cancelled.map(({ body }) => body.data.counts.sent + body.data.counts.claimed);

      await expect.poll(() => recipients("claimed"), PATIENCE).toBe(0);
      const after = await Promise.all(ids.map(async (id) => (await progress(id)).counts));
      expect(after.map(({ sent, failed }) => sent + failed)).toEqual(claimed);
      expect(after.map(({ sent, failed, cancelled }) => sent + failed + cancelled)).toEqual(ids.map(() => 100));
      expect(await recipients("cancelled")).toBeGreaterThan(0);
      await expect.poll(async () => (await messages()).length, PATIENCE).toBe(await recipients("sent"));
    },
  );
});
