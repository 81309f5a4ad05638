import { abortAllDurableObjects, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it } from "vitest";
import type { Conversation as ConversationPort, Recording } from "../../src/rpc/conversation.ts";

const newAddress = () => crypto.randomUUID();
const at = (address: string): ConversationPort => env.CONVERSATIONS.getByName(address);
const rows = (address: string, query: string) =>
  runInDurableObject(env.CONVERSATIONS.getByName(address), (_object, { storage }) => storage.sql.exec(query).toArray());

/** Tables of the conversation; the platform's own are named `_cf...`. */
const TABLES = "SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'";

const entries = async (address: string) => (await at(address).pull(1_000_000)).entries;

/** A broadcast's message to somebody on WhatsApp. */
const recording = (changes: Partial<Recording> = {}): Recording => ({
  brandId: "00000000-0000-4000-8000-000000000001",
  instanceId: "00000000-0000-4000-8000-000000000020",
  userId: "01a203c1-5b09-7963-9685-2aef74277b10",
  channel: "whatsapp",
  openSession: null,
  sessionTimeoutMs: 3_600_000,
  messages: [
    {
      id: "01a203c1-5b09-7963-9685-2aef74277b11",
      role: "assistant",
      content: "We are open again",
      saidAt: null,
      requestId: null,
      traceId: "trace",
      metadata: { channel: "broadcast" },
    },
  ],
  outbound: {
    channel: "whatsapp" as const,
    person: { phone: "+16505551234", userId: null },
    phoneNumberId: "100",
    template: { name: "news", language: "en" },
  },
  ...changes,
});

describe("a message that is recorded and sent", () => {
  it("a recorded message is kept and sent once, also when the object was restarted in between", async () => {
    const address = newAddress();
    const first = await at(address).record(recording());
    await abortAllDurableObjects();
    expect(await at(address).record(recording())).toEqual(first);
    expect((await entries(address)).flatMap(({ messages }) => messages.map(({ content }) => content))).toEqual([
      "We are open again",
    ]);
    expect(await rows(address, "SELECT message_id, part FROM deliveries")).toEqual([
      { message_id: "01a203c1-5b09-7963-9685-2aef74277b11", part: 1 },
    ]);
  });

  it("a recorded message is not kept when nothing can be sent: the service window is closed and there is no template", async () => {
    const address = newAddress();
    const outbound = {
      channel: "whatsapp" as const,
      person: { phone: "+16505551234", userId: null },
      phoneNumberId: "100",
      template: null,
    };
    expect(await at(address).record(recording({ outbound }))).toMatchObject({
      kind: "undeliverable",
      code: "WINDOW_CLOSED",
    });
    expect(await entries(address)).toEqual([]);
    expect(await rows(address, TABLES)).toEqual([]);
  });

  it("a recorded message follows a conversation to its new address", async () => {
    const [old, primary] = [newAddress(), newAddress()];
    await at(old).acceptAlias(
      { address: primary, foundedAt: 1, kind: "number" },
      { kind: "number", onlyUnfounded: false },
    );
    await at(old).record(recording());
    expect(await entries(old)).toEqual([]);
    expect(await entries(primary)).toHaveLength(1);
    expect(await rows(primary, "SELECT part FROM deliveries")).toHaveLength(1);
  });

  it("a recorded message is refused by another user's conversation", async () => {
    const address = newAddress();
    await at(address).record(recording());
    const messages = recording().messages.map((message) => ({ ...message, id: crypto.randomUUID() }));
    const foreign = recording({ brandId: "00000000-0000-4000-8000-000000000002", messages });
    expect(await at(address).record(foreign)).toMatchObject({ kind: "refused", code: "RESOURCE_NOT_FOUND" });
    expect(await entries(address)).toHaveLength(1);
    expect(await rows(address, "SELECT part FROM deliveries")).toHaveLength(1);
  });
});
