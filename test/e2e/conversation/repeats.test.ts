import { randomUUID } from "node:crypto";
import { describe, expect, vi } from "vitest";
import * as stand from "../../support/orchestrator.ts";
import type { Reply } from "../../support/service.ts";
import { conversationTest, message } from "../../support/conversation-service.ts";
import { PATIENCE } from "../../support/patience.ts";

const it = conversationTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(stand.echo));

const UUID = expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);

describe("a request that comes again", () => {
  const body = message({ content: "Only once, please" });
  let replies: Reply[];
  it.beforeAll(async ({ orchestrator, service }) => {
    const { behaviour, open } = stand.gate();
    orchestrator.behave(behaviour);
    const both = [service.say("/api/messages", body), service.say("/api/messages", body)];
    // One of them is told at once; the other only when there is an answer.
    await Promise.race(both);
    open();
    replies = await Promise.all(both);
  });

  it("a repeated request is processed once [G1.3.1]", async ({ orchestrator }) => {
    expect(replies.map(({ status }) => status)).toContain(200);
    expect(orchestrator.calls.filter(({ adapter }) => adapter.message.content === body.content)).toHaveLength(1);
  });

  it("a repeated request gets the first answer afterwards [G1.3.2]", async ({ service }) => {
    const first = replies.find(({ status }) => status === 200);
    const again = await service.say("/api/messages", body);
    expect(again).toMatchObject({ status: 409, body: { error: { details: { state: "completed" } } } });
    expect(again.body.error.details.cached_response).toEqual(first?.body.data);
  });

  it("a repeated request is told that the first one is running [G1.3.3, G2.10.1]", () => {
    const other = replies.find(({ status }) => status !== 200);
    expect(other).toMatchObject({ status: 409, body: { error: { details: { state: "in_progress" } } } });
  });
});

describe("somebody who says a lot at once", () => {
  it("concurrent messages of one user are answered one after the other", async ({ say, orchestrator }) => {
    const user = { device_id: randomUUID() };
    await say({ user });
    orchestrator.behave(stand.after(50));
    const words = ["one", "two", "three", "four", "five"];
    const [first] = await Promise.all(words.map((content) => say({ user, content })));
    const { session_id } = first?.body.data ?? {};
    const asked = orchestrator.calls.filter(({ adapter }) => adapter.session_id === session_id).slice(1);
    // Each run knew the answers to all that was admitted before it, so none began before the last had ended.
    expect(asked.map(({ adapter }) => adapter.history.length)).toEqual([2, 4, 6, 8, 10]);
  });
});

it("a turn whose caller disconnected is completed and stored", async ({ orchestrator, service }) => {
  const user = { device_id: randomUUID() };
  const request_id = randomUUID();
  const body = message({ user, request_id, content: `gone ${request_id}` });
  orchestrator.behave(stand.after(400));
  const leaving = new AbortController();
  const left = service.request("/api/messages", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    signal: leaving.signal,
  });
  await vi.waitUntil(
    () => orchestrator.calls.some(({ adapter }) => adapter.message.content === body.content),
    PATIENCE,
  );
  leaving.abort();
  await expect(left).rejects.toThrow(/abort/i);
  const again = await vi.waitFor(async () => {
    const reply = await service.say("/api/messages", body);
    expect(reply.body.error.details.state).toBe("completed");
    return reply;
  }, PATIENCE);
  expect(again.body.error.details.cached_response).toMatchObject({ message_id: UUID, text: `echo: ${body.content}` });
});
