import { describe, expect } from "vitest";
import { ACME_KEY, INSTANCE } from "../support/demo.ts";
import { gatewayTest } from "../support/fixtures.ts";
import { somebody } from "../support/people.ts";
import { BUSINESS } from "../support/whatsapp.ts";

const it = gatewayTest()
  .extend("boundOrchestrator", { scope: "file" }, () => async (request: Request) => {
    const adapter = (await request.json()) as { message: { content: string } };
    return Response.json({ text: adapter.message.content === "long" ? "x".repeat(10_001) : "Hi" });
  })
  .extend(
    "post",
    { scope: "file" },
    ({ gateway }) =>
      (path: string, body: Record<string, unknown>) =>
        gateway.send("POST", path, body, ACME_KEY),
  )
  .extend(
    "say",
    { scope: "file" },
    ({ post }) =>
      (changes: Record<string, unknown>) =>
        post("/api/messages", {
          instance_id: INSTANCE.chat,
          request_id: crypto.randomUUID(),
          content: "Hello",
          device_id: "device-1",
          ...changes,
        }),
  );

const METADATA = { password: "hunter2", list: Array.from({ length: 150 }, (_, n) => n), token: 7, page: "/home" };
const WARNINGS = ["metadata.password: removed", "metadata.list: 50 items left out"];

describe("an answer's warnings", () => {
  it("an answer's warnings name what was left out of a message's metadata, also for a repeated request", async ({
    say,
  }) => {
    const request = { request_id: "warned", metadata: METADATA };
    const first = await say(request);
    expect([first.status, first.body.data.warnings]).toEqual([200, WARNINGS]);
    const again = await say(request);
    expect(again.body.error.details.cached_response).toEqual(first.body.data);
  });

  it("an answer has no warnings when nothing was changed", async ({ say }) => {
    const { body } = await say({ metadata: { page: "/home", token: 7, secret: true, constructor: "kept" } });
    expect(Object.keys(body.data)).not.toContain("warnings");
  });

  it("an answer's warnings say that a reply was cut at 10,000 characters, and its message is marked", async ({
    gateway,
    say,
  }) => {
    const { body } = await say({ content: "long" });
    expect([body.data.text.length, body.data.warnings]).toEqual([10_000, ["text: cut to 10000 characters"]]);
    await gateway.flush();
    const [row] = await gateway.database.query(
      "select metadata_json ->> 'truncated' as cut from messages where id = $1",
      [body.data.message_id],
    );
    expect(row?.["cut"]).toBe("true");
  });

  it("an answer to a WhatsApp message of the brand's own system has warnings", async ({ post }) => {
    const message = { from: "14155550177", to: BUSINESS.number, type: "text", text: { body: "Hello" } };
    const { status, body } = await post("/api/whatsapp/messages", { request_id: "w1", message, metadata: METADATA });
    expect([status, body.data.warnings]).toEqual([200, WARNINGS]);
  });

  it("an answer to a broadcast has warnings, and its repeat too", async ({ gateway, post }) => {
    const { userId } = await somebody(gateway);
    const request = {
      instance_id: INSTANCE.chat,
      request_id: "b1",
      content: "News",
      user_ids: [userId],
      metadata: METADATA,
    };
    const first = await post("/api/broadcast", request);
    expect([first.status, first.body.data.warnings]).toEqual([200, WARNINGS]);
    const again = await post("/api/broadcast", request);
    expect(again.body.error.details.cached_response).toEqual(first.body.data);
  });

  it("an answer to a started conversation has warnings, and to its transcript by index", async ({ gateway }) => {
    const ann = await somebody(gateway);
    const body = { instance_id: INSTANCE.chat, metadata: METADATA };
    const { status, body: started } = await gateway.send("POST", "/api/v1/conversations/start", body, ann.token);
    expect([status, started.data.warnings]).toEqual([201, WARNINGS]);
    const spoken = { role: "user", content: "Hi", timestamp: new Date().toISOString() };
    const saved = await ann.transcribe(started.data.conversation_id, [spoken, { ...spoken, metadata: METADATA }]);
    expect([saved.status, saved.body.data.warnings]).toEqual([202, WARNINGS.map((warning) => `1.${warning}`)]);
  });
});

describe("a number in metadata that JavaScript can't hold as it is written", () => {
  it.for(["9007199254740993", "-12345678901234567890", "1e400"])(
    "a number that JavaScript can't hold is refused with its path: %s",
    async (number, { gateway }) => {
      const body = JSON.stringify({ instance_id: INSTANCE.chat, request_id: "n1", content: "Hello", device_id: "d" });
      const response = await gateway.request("/api/messages", {
        method: "POST",
        headers: { "Content-Type": "application/json", Authorization: `Bearer ${ACME_KEY}` },
        body: body.replace(/}$/, `,"metadata":{"order":[{"id":${number}}]}}`),
      });
      const { error } = response.body;
      expect([response.status, error.code, error.details.fields[0].field]).toEqual([
        422,
        "VALIDATION_ERROR",
        "metadata.order.0.id",
      ]);
    },
  );
});

describe("a request that is repeated with other metadata", () => {
  const MISMATCH = { state: "payload_mismatch" };

  it("a repeated request with other metadata is another message", async ({ say }) => {
    await say({ request_id: "m1", metadata: { page: 1 } });
    const { status, body } = await say({ request_id: "m1", metadata: { page: 2 } });
    expect([status, body.error.details]).toMatchObject([409, MISMATCH]);
  });

  it("a repeated request with other metadata is another WhatsApp message", async ({ post }) => {
    const message = { from: "14155550178", to: BUSINESS.number, type: "text", text: { body: "Hello" } };
    const send = (page: number) => post("/api/whatsapp/messages", { request_id: "m2", message, metadata: { page } });
    await send(1);
    const { status, body } = await send(2);
    expect([status, body.error.details]).toMatchObject([409, MISMATCH]);
  });

  it("a repeated request with other metadata is another broadcast", async ({ gateway, post }) => {
    const { userId } = await somebody(gateway);
    const send = (page: number) =>
      post("/api/broadcast", {
        ...{ instance_id: INSTANCE.chat, request_id: "m3", content: "News", user_ids: [userId] },
        metadata: { page },
      });
    await send(1);
    const { status, body } = await send(2);
    expect([status, body.error.details]).toMatchObject([409, MISMATCH]);
  });
});
