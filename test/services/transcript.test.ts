import { describe, expect } from "vitest";
import { ACME_KEY, GLOBEX, INSTANCE } from "../support/demo.ts";
import { contents, somebody } from "../support/people.ts";
import { gatewayTest } from "../support/fixtures.ts";

const it = gatewayTest().extend(
  "rowsOf",
  { scope: "file" },
  ({ gateway }) =>
    (id: string) =>
      gateway.database.query(
        `select id, role, content, user_id, trace_id, metadata_json::text as metadata, seq::int as seq,
       (extract(epoch from created_at) * 1000)::bigint as at
     from messages where session_id = $1 order by created_at, seq`,
        [id],
      ),
);

const SPOKEN = "2026-11-22T10:00:00.123Z";

describe("what a voice pipeline wrote down", () => {
  it("a transcript is accepted before Postgres has it and stored afterwards [5.1-INT-007]", async ({
    gateway,
    rowsOf,
  }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await gateway.flush();
    gateway.roundTrips();
    const reply = await ann.transcribe(id, { role: "user", content: "Hello", timestamp: SPOKEN });
    expect([reply.status, reply.body.data]).toEqual([202, { conversation_id: id, ids: [expect.any(String)] }]);
    expect(gateway.roundTrips()).toBe(0);
    expect(await rowsOf(id)).toEqual([]);
    await gateway.flush();
    expect((await rowsOf(id)).map(({ id }) => id)).toEqual(reply.body.data.ids);
  });

  it("a hundred transcript messages in a row cost no query and one transaction [5.1-INT-011]", async ({
    gateway,
    rowsOf,
  }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await gateway.flush();
    gateway.roundTrips();
    for (let n = 0; n < 100; n += 1) {
      expect((await ann.transcribe(id, { role: "user", content: `m${n}`, timestamp: SPOKEN })).status).toBe(202);
    }
    expect(gateway.roundTrips()).toBe(0);
    await gateway.flush();
    expect(gateway.roundTrips()).toBe(1);
    expect((await rowsOf(id)).map(({ content }) => content)).toEqual(Array.from({ length: 100 }, (_, n) => `m${n}`));
  });

  it("a transcript is accepted during an outage and stored afterwards [5.1-INT-008]", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await gateway.flush();
    // The isolate knows the brand's key, as it knows the user's brand.
    expect((await gateway.get("/api/v1/conversations", ACME_KEY)).status).toBe(200);
    await gateway.proxy.leave();
    const reply = await ann.transcribe(id, { role: "user", content: "Is anybody there?", timestamp: SPOKEN });
    expect(reply.status).toBe(202);
    await expect(gateway.flush()).rejects.toMatchObject({ name: "NeonDbError" });
    expect((await ann.transcribe(id, { role: "assistant", content: "Yes", timestamp: SPOKEN })).status).toBe(202);
    await gateway.proxy.back();
    await gateway.flush();
    expect((await rowsOf(id)).map(({ content }) => content)).toEqual(["Is anybody there?", "Yes"]);
  });

  it("a transcript keeps its times to the millisecond and its order within one [5.1-INT-012]", async ({
    gateway,
    rowsOf,
  }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const same = ["first", "second", "third"].map((content) => ({ role: "user", content, timestamp: SPOKEN }));
    await ann.transcribe(id, [
      { role: "assistant", content: "later", timestamp: "2026-11-22T11:00:00.456789+01:00" },
      ...same,
      { role: "user", content: "earlier", timestamp: "2026-11-22 09:59:59.999Z" },
    ]);
    const newestFirst = ["later", "third", "second", "first", "earlier"];
    expect(contents(await ann.history(id))).toEqual(newestFirst);
    await gateway.flush();
    expect(contents(await ann.history(id))).toEqual(newestFirst);
    const spoken = Date.parse(SPOKEN);
    expect((await rowsOf(id)).map(({ content, at }) => [content, Number(at)])).toEqual([
      ["earlier", Date.UTC(2026, 10, 22, 9, 59, 59, 999)],
      ["first", spoken],
      ["second", spoken],
      ["third", spoken],
      ["later", Date.UTC(2026, 10, 22, 10, 0, 0, 456)],
    ]);
  });

  it("a transcript keeps its speakers and metadata", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const metadata = {
      source: "deepgram",
      confidence: 0.9731,
      language: "pt-BR",
      interrupted: true,
      heard_text: "Your number is",
      words: [{ word: "Your", start: 0.1 }],
    };
    await ann.transcribe(id, [
      { role: "user", content: "What is my number?", timestamp: SPOKEN },
      { role: "assistant", content: "Your number is 7", timestamp: SPOKEN, metadata },
    ]);
    await gateway.flush();
    const [user, assistant] = await rowsOf(id);
    expect([user?.["role"], user?.["user_id"], assistant?.["role"], assistant?.["user_id"]]).toEqual([
      "user",
      ann.userId,
      "assistant",
      null,
    ]);
    const recorded = { ...metadata, recorded: "transcript" };
    expect(JSON.parse(assistant?.["metadata"] ?? "")).toEqual(recorded);
    expect((await ann.history(id)).body.data.messages[0].metadata).toEqual(recorded);
  });
});

describe("a transcript that comes twice", () => {
  it("a transcript with the client's ids is stored once when repeated", async ({ gateway, rowsOf }) => {
    const ann = await somebody(gateway);
    const [id, other] = [await ann.start(), await ann.start()];
    const uuid = crypto.randomUUID();
    const batch = [
      { id: uuid.toUpperCase(), role: "user", content: "a", timestamp: SPOKEN },
      { id: "turn-1:assistant", role: "assistant", content: "b", timestamp: SPOKEN },
    ];
    const once = await ann.transcribe(id, batch);
    const again = await ann.transcribe(id, [...batch, { id: "3", role: "user", content: "c", timestamp: SPOKEN }]);
    expect(again.body.data.ids.slice(0, 2)).toEqual(once.body.data.ids);
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    await ann.transcribe(id, batch);
    await gateway.flush();
    expect((await rowsOf(id)).map(({ content }) => content)).toEqual(["a", "b", "c"]);
    const elsewhere = await ann.transcribe(other, batch);
    for (const messageId of elsewhere.body.data.ids) expect(once.body.data.ids).not.toContain(messageId);
  });

  it("a transcript with the same request id is stored once when repeated", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const send = () =>
      gateway.request(`/api/v1/conversations/${id}/messages`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Authorization: `Bearer ${ann.token}`,
          "Idempotency-Key": "batch-1",
        },
        body: JSON.stringify([
          { role: "user", content: "same", timestamp: SPOKEN },
          { role: "user", content: "same", timestamp: SPOKEN },
        ]),
      });
    const [once, again] = [await send(), await send()];
    expect(again.body.data).toEqual(once.body.data);
    expect(contents(await ann.history(id))).toEqual(["same", "same"]);
  });

  it("a transcript without ids is stored twice when repeated", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    for (let n = 0; n < 2; n += 1) await ann.transcribe(id, { role: "user", content: "again", timestamp: SPOKEN });
    expect(contents(await ann.history(id))).toEqual(["again", "again"]);
  });

  it("a transcript message keeps its place when another conversation has a message with the same id", async ({
    gateway,
    rowsOf,
  }) => {
    const [ann, bob] = [
      await somebody(gateway),
      await somebody(gateway, { brandId: GLOBEX, instanceId: INSTANCE.globex }),
    ];
    const [hers, his] = [await ann.start(), await bob.start()];
    const message = { id: crypto.randomUUID(), role: "user", timestamp: SPOKEN };
    await ann.transcribe(hers, { ...message, content: "hers" });
    await gateway.flush();
    await bob.transcribe(his, { ...message, content: "his" });
    await gateway.flush();
    expect((await rowsOf(hers)).map(({ content }) => content)).toEqual(["hers"]);
    expect((await rowsOf(his)).map(({ content }) => content)).toEqual(["his"]);
  });

  it("a transcript message with the id of a turn's message stands once in its session, and elsewhere as its own", async ({
    gateway,
    rowsOf,
  }) => {
    const [ann, bob] = [await somebody(gateway), await somebody(gateway)];
    const turn = await ann.say("Where is my order?");
    const mirrored = { id: turn.inbound_message_id, role: "user", content: "Where is my order?", timestamp: SPOKEN };
    const first = await ann.transcribe(turn.session_id, mirrored);
    expect(first.body.data.ids).toEqual([turn.inbound_message_id]);
    expect(contents(await ann.history(turn.session_id))).toEqual([turn.text, "Where is my order?"]);

    // The object has forgotten the turn: the ledger knows its message.
    await gateway.flush();
    gateway.evictAll({ emptied: true });
    expect((await ann.transcribe(turn.session_id, mirrored)).status).toBe(202);
    await gateway.flush();
    expect((await rowsOf(turn.session_id)).map(({ content }) => content)).toEqual(["Where is my order?", turn.text]);

    const his = await bob.start();
    await bob.transcribe(his, mirrored);
    await gateway.flush();
    expect((await rowsOf(his)).map(({ content }) => content)).toEqual(["Where is my order?"]);
  });

  it("an id that comes again with other words is a conflict at its index, and nothing of the transcript is kept", async ({
    gateway,
  }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    await ann.transcribe(id, { id: "1", role: "user", content: "a", timestamp: SPOKEN });
    const reply = await ann.transcribe(id, [
      { id: "2", role: "user", content: "b", timestamp: SPOKEN },
      { id: "1", role: "user", content: "other words", timestamp: SPOKEN },
      { id: "2", role: "user", content: "other words", timestamp: SPOKEN },
    ]);
    expect([reply.status, reply.body.error.code]).toEqual([409, "CONFLICT"]);
    expect(reply.body.error.details.fields.map(({ field }: { field: string }) => field)).toEqual([
      "messages.1.id",
      "messages.2.id",
    ]);
    expect(contents(await ann.history(id))).toEqual(["a"]);
  });
});

describe("Pipecat's events are taken as they are:", () => {
  const shapes: [string, unknown, unknown[]][] = [
    [
      "UserTurnStoppedMessage",
      { content: "What is my number?", timestamp: "2026-11-22T10:00:00.123+00:00", user_id: "p-1" },
      [{ role: "user", content: "What is my number?", timestamp: SPOKEN, metadata: { user_id: "p-1" } }],
    ],
    [
      "UserTurnStoppedMessage of a speaker without a name",
      { content: "Hello", timestamp: SPOKEN, user_id: null },
      [{ role: "user", content: "Hello", metadata: {} }],
    ],
    [
      "AssistantTurnStoppedMessage",
      { content: "Your number is 7.", interrupted: false, timestamp: SPOKEN },
      [{ role: "assistant", content: "Your number is 7.", metadata: { interrupted: false } }],
    ],
    [
      "AssistantTurnStoppedMessage that was cut off before anything was heard",
      { content: "", interrupted: true, timestamp: SPOKEN },
      [{ role: "assistant", content: "", metadata: { interrupted: true } }],
    ],
    [
      "an event that names itself",
      { event: "on_user_turn_stopped", message: { content: "Hello", timestamp: SPOKEN } },
      [{ role: "user", content: "Hello" }],
    ],
    [
      "a turn that says its type",
      { type: "assistant_turn", content: "Hello", timestamp: SPOKEN },
      [{ role: "assistant", content: "Hello" }],
    ],
    [
      "on_transcript_update, before 1.0",
      {
        messages: [
          { role: "user", content: "Hello", timestamp: "2026-11-22T10:00:00.123456+00:00", user_id: "p-1" },
          { role: "assistant", content: "Hi", timestamp: null, user_id: null },
        ],
      },
      [
        { role: "assistant", content: "Hi" },
        { role: "user", content: "Hello", timestamp: SPOKEN, metadata: { user_id: "p-1" } },
      ],
    ],
  ];
  it.for(shapes)("a Pipecat event is accepted: %s", async ([, event, expected], { gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const reply = await ann.transcribe(id, event);
    expect([reply.status, reply.body.data?.ids.length]).toEqual([202, expected.length]);
    expect((await ann.history(id)).body.data.messages).toMatchObject(expected);
  });
});

describe("a transcript is refused, by the place that is wrong in it:", () => {
  const message = { role: "user", content: "Hello", timestamp: SPOKEN };
  const many = Array.from({ length: 101 }, () => message);
  const wrong: [string, unknown, string][] = [
    ["nothing", [], ""],
    ["more than a hundred", many, ""],
    ["more than a hundred in an event", { messages: many }, "messages"],
    ["no object", "Hello", ""],
    ["no role", { content: "Hello", timestamp: SPOKEN }, "role"],
    ["a role nobody speaks in", { ...message, role: "system" }, "role"],
    ["no words", { ...message, content: " \u0000 " }, "content"],
    ["a reply without words that was not cut off", { ...message, role: "assistant", content: "" }, "content"],
    ["10,001 characters", { ...message, content: "x".repeat(10_001) }, "content"],
    ["a day no calendar has", { ...message, timestamp: "2026-02-30T10:00:00Z" }, "timestamp"],
    ["a local time", { ...message, timestamp: "2026-11-22T10:00:00" }, "timestamp"],
    ["a day without a time", { ...message, timestamp: "2026-11-22" }, "timestamp"],
    ["a time that is a number", { ...message, timestamp: 1_795_341_600 }, "timestamp"],
    ["metadata that is a list", { ...message, metadata: [1] }, "metadata"],
    ["metadata of more than 64 KB", { ...message, metadata: { x: "y".repeat(65_536) } }, "metadata"],
    ["an id that is too long", { ...message, id: "x".repeat(129) }, "id"],
    ["one that is wrong among those that are right", [message, { ...message, content: 1 }], "1.content"],
    ["the same in an event", { messages: [message, { ...message, role: "x" }] }, "messages.1.role"],
  ];
  it.for(wrong)("a transcript is refused at the faulty place: %s", async ([, body, field], { gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const reply = await ann.transcribe(id, body);
    expect([reply.status, reply.body.error.code, reply.body.error.details.fields[0].field]).toEqual([
      422,
      "VALIDATION_ERROR",
      field,
    ]);
    expect(contents(await ann.history(id))).toEqual([]);
  });

  it("a transcript with times in the future or before 2000 is refused, by index", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const id = await ann.start();
    const ahead = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString();
    const times = [ahead(20), SPOKEN, "1999-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z"];
    const reply = await ann.transcribe(
      id,
      times.map((timestamp) => ({ ...message, timestamp })),
    );
    expect([reply.status, reply.body.error.code]).toEqual([422, "VALIDATION_ERROR"]);
    expect(reply.body.error.details.fields.map(({ index }: any) => index)).toEqual([0, 2, 3]);
    expect(contents(await ann.history(id))).toEqual([]);
    for (const timestamp of [ahead(1), "2000-01-01T00:00:00Z"]) {
      expect((await ann.transcribe(id, { ...message, timestamp })).status).toBe(202);
    }
  });
});
