import { describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { receive } from "../../durable-objects/conversation/channel/receive.ts";
import type { ChannelDefinition, RequestBody } from "../../src/channels/channel.ts";
import { channelOf } from "../../src/channels/registry.ts";
import { CHANNELS } from "../../src/domain/channel.ts";
import type { Channel } from "../../src/domain/channel.ts";
import type { InboundMessage } from "../../src/domain/inbound-message.ts";
import { demoBundle } from "../support/bundle.ts";
import { answering, conversationOver, objectDeps, submission } from "../support/conversation.ts";
import { sqliteStorage } from "../support/sqlite-storage.ts";
import { PATIENCE } from "../support/patience.ts";

/** A channel's name stands in one list; everything else about it is the value below. */
vi.mock("../../src/domain/channel.ts", async (original) => {
  const { CHANNELS } = await original<typeof import("../../src/domain/channel.ts")>();
  const names = [...CHANNELS, "post"] as const;
  return { CHANNELS: names, Channel: z.enum(names) };
});

/** A channel that nothing but this value knows: letters of ten characters, free-form for an hour. */
const post: ChannelDefinition = {
  addressedBy: "contact",
  vouchesForIdentifiers: true,
  delivery: {
    serviceWindowMs: 3_600_000,
    renderText: ({ phone }, referenceOf, { content, replyTo }) =>
      (content.match(/.{1,10}/gsu) ?? []).map((line, index) => ({
        recipient: phone,
        line,
        reference: referenceOf(index + 1),
        replyTo,
      })),
    renderTemplate: ({ phone }, reference, { name }) => ({
      request: { recipient: phone, form: name, reference },
      text: name,
    }),
  },
};
const POST = "post" as Channel;

const USER = { id: "01a203c1-5b09-7963-9685-2aef74277b10", tier: "verified" as const };
const NOW = Date.parse("2026-11-28T12:00:00Z");

const letter = (id: string, changes: Partial<InboundMessage> = {}): InboundMessage => ({
  id,
  channel: POST,
  kind: "text",
  role: "user",
  person: { phone: "+16505551234", userId: null },
  business: { number: null, phoneNumberId: "box 7" },
  groupId: null,
  otherIdentities: [],
  newIdentity: null,
  content: "Is it ready?",
  sentAt: NOW,
  metadata: {},
  ...changes,
});

/** A conversation of the channel, whose orchestrator answers with 15 characters. */
function conversation() {
  const sent: [string, RequestBody][] = [];
  const bundle = demoBundle();
  bundle.instance.whatsappTemplate = { name: "reminder", language: "en" };
  const { deps } = objectDeps({
    now: () => NOW,
    channel: (name) => (name === POST ? post : channelOf(name)),
    sender: (name) =>
      name === POST
        ? async (endpointId, request) => {
            sent.push([endpointId, request]);
            return { kind: "sent", id: `sent-${sent.length}`, recipient: null };
          }
        : null,
    orchestrator: answering(async () => ({ text: "It will be soon" })),
    resolveWebhookMessage: async () => ({ kind: "ready", bundle, user: USER, openSession: null }),
  });
  const parts = conversationOver({ storage: sqliteStorage(), deps });
  const deliver = (message: InboundMessage) => {
    const received = receive(parts, {
      kind: "number",
      messages: [message],
      statuses: [],
      aliases: [],
      traceId: "trace",
      receivedAt: NOW,
    });
    parts.runner.runNext();
    return received;
  };
  return { ...parts, sent, deliver };
}

describe("a channel that is added as one value", () => {
  it("a channel added as one value takes a message once, answers it and delivers the rendered reply", async () => {
    const { sent, deliver, outbox } = conversation();
    expect(deliver(letter("l1"))).toMatchObject({ accepted: 1 });
    await vi.waitUntil(() => sent.length === 2, PATIENCE);
    const [entry] = outbox.pull(1_000_000).entries;
    const [inbound, reply] = entry?.messages ?? [];
    expect(inbound).toMatchObject({ role: "user", channelMessageId: "l1", metadata: { channel: "post" } });
    const line = (text: string, part: string) => [
      "box 7",
      {
        recipient: "+16505551234",
        line: text,
        reference: expect.stringContaining(`${reply?.id}${part}`),
        replyTo: "l1",
      },
    ];
    expect(sent).toEqual([line("It will be", ""), line(" soon", "/2")]);
    expect(deliver(letter("l1"))).toMatchObject({ accepted: 0, duplicates: 1 });
  });

  it("a channel added as one value sends its template outside its own service window", async () => {
    const { sent, deliver } = conversation();
    deliver(letter("l1", { sentAt: NOW - 3_600_000 }));
    await vi.waitUntil(() => sent.length === 1, PATIENCE);
    expect(sent).toEqual([["box 7", { recipient: "+16505551234", form: "reminder", reference: expect.any(String) }]]);
  });

  it("a channel that addresses contacts replaces a stale user id by the owner's", async () => {
    const { sent, deliver, state, submit } = conversation();
    deliver(letter("l1"));
    await vi.waitUntil(() => sent.length === 2, PATIENCE);
    const stale = { ...USER, id: "01a203c1-5b09-7963-9685-2aef74277b11" };
    const outcome = await submit(submission("r1", "And now?", { channel: POST, user: stale }));
    expect(outcome).toMatchObject({ kind: "answered", answer: { user_id: USER.id } });
    expect(state.get("owner")?.userId).toBe(USER.id);
  });
});

describe("the channels there are", () => {
  it("only WhatsApp vouches for identifiers, addresses contacts and delivers", () => {
    const names = (has: (definition: ChannelDefinition) => boolean) =>
      CHANNELS.filter((channel) => channel !== POST && has(channelOf(channel)));
    expect(names(({ vouchesForIdentifiers }) => vouchesForIdentifiers)).toEqual(["whatsapp"]);
    expect(names(({ addressedBy }) => addressedBy === "contact")).toEqual(["whatsapp"]);
    expect(names(({ delivery }) => delivery !== null)).toEqual(["whatsapp"]);
  });
});
