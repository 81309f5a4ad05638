import { randomUUID } from "node:crypto";
import { describe, expect, vi } from "vitest";
import { ACME, INSTANCE } from "../../support/demo.ts";
import * as stand from "../../support/orchestrator.ts";
import { conversationTest, message } from "../../support/conversation-service.ts";
import { PATIENCE } from "../../support/patience.ts";

const it = conversationTest();

it.beforeEach(({ orchestrator }) => orchestrator.behave(stand.echo));

const DEFAULT_REPLY = "Sorry, I can't answer right now. Please try again in a moment.";

describe("a message that can't be answered here", () => {
  it.for([
    ["G2.1.1", "nobody has made", INSTANCE.unknown, "instance"],
    ["G2.2.1", "is switched off", INSTANCE.inactive, "instance"],
    ["G2.3.1", "has no configuration", INSTANCE.unconfigured, "config"],
  ] as const)("a message to an instance that $1 is 404 [$0]", async ([, , instance_id, resource_type], { say }) => {
    const reply = await say({ instance_id });
    expect(reply).toMatchObject({
      status: 404,
      body: { error: { code: "RESOURCE_NOT_FOUND", details: { resource_type, resource_id: instance_id } } },
    });
  });

  it("a message without a template is refused before the orchestrator is called [G2.4.1]", async ({
    say,
    instanceAnsweringWith,
    orchestrator,
  }) => {
    const content = randomUUID();
    const reply = await say({ instance_id: await instanceAnsweringWith("nowhere"), content });
    expect(reply).toMatchObject({ status: 400, body: { error: { code: "VALIDATION_ERROR" } } });
    expect(orchestrator.calls.filter(({ adapter }) => adapter.message.content === content)).toEqual([]);
  });

  it("a message without a model is refused with the missing field [G2.5.1, A5.3.1, A5.3.2, A5.3.3]", async ({
    service,
    say,
    instanceAnsweringWith,
  }) => {
    await service.query("insert into templates (brand_id, template_key, name) values ($1, 'modelless', 'x')", [ACME]);
    const reply = await say({ instance_id: await instanceAnsweringWith("modelless") });
    expect(reply.body.error.code).toBe("VALIDATION_ERROR");
    expect(reply.status).toBe(400);
    expect(reply.body.error.details.fields[0].field).toBe("llm_model");
    expect(reply.body.error.details.fields[0].message).toContain("model");
  });
});

describe("an orchestrator in trouble", () => {
  it("an orchestrator past its timeout gives the default reply [G2.6.1]", async ({ replyTo }) => {
    const reply = await replyTo(stand.hang);
    expect(reply.body.data).toMatchObject({ text: DEFAULT_REPLY, fallback: true });
  });

  it("an orchestrator that fails gives the default reply [G2.7.1]", async ({ replyTo }) => {
    const reply = await replyTo(stand.answerWith({ error: "boom" }, 500));
    expect(reply.body.data).toMatchObject({ text: DEFAULT_REPLY, fallback: true });
  });

  it.for([
    ["hangs up", stand.reset],
    ["breaks off in the middle", stand.breakOff],
    ["says what is no JSON", stand.garbage],
    ["sends elsewhere", stand.redirect],
    ["never stops dripping", stand.drip],
    ["never stops talking", stand.endless],
    ["says nothing", stand.answerWith({})],
    ["answers with a list", stand.answerWith([1, 2])],
  ] as const)(
    "an orchestrator that %s gives the default reply, and the conversation continues",
    async ([, behaviour], { orchestrator, say }) => {
      const user = { device_id: randomUUID() };
      orchestrator.behave(behaviour);
      const reply = await say({ user });
      expect(reply).toMatchObject({ status: 200, body: { data: { text: DEFAULT_REPLY, fallback: true } } });
      orchestrator.behave(stand.echo);
      expect((await say({ user, content: "And now?" })).body.data.text).toBe("echo: And now?");
    },
  );

  it("an orchestrator's endless response is cut off before the timeout", async ({ replyTo, service }) => {
    const reply = await replyTo(stand.endless);
    const trace_id = reply.headers.get("X-Trace-ID");
    const failure = await vi.waitFor(() => {
      const line = service.log().find((line) => line.event === "orchestrator_failed" && line.trace_id === trace_id);
      if (line === undefined) throw new Error("Nothing was said");
      return line;
    }, PATIENCE);
    expect(failure.error.message).toMatch(/larger than \d+ bytes/);
  });

  it("a default reply is stored without usage", async ({ replyTo, written }) => {
    const reply = await replyTo(stand.reset);
    const { session_id, message_id } = reply.body.data;
    const [, answer] = await written("messages", session_id, 2);
    expect(answer).toMatchObject({ id: message_id, role: "assistant", content: DEFAULT_REPLY });
    expect(await written("session_token_usage", session_id, 0)).toEqual([]);
  });

  it("a repeated request after a default reply does not call the orchestrator again", async ({
    orchestrator,
    service,
  }) => {
    orchestrator.behave(stand.garbage);
    const body = message();
    const first = await service.say("/api/messages", body);
    orchestrator.behave(stand.echo);
    const again = await service.say("/api/messages", body);
    expect(again.body.error.details.cached_response).toEqual(first.body.data);
  });
});
