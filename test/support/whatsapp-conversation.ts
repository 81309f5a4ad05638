import { vi } from "vitest";
import { receive as receiveBatch } from "../../durable-objects/conversation/channel/receive.ts";
import type { ChannelSender } from "../../src/channels/channel.ts";
import { readWebhook } from "../../src/channels/whatsapp/webhook.ts";
import type { Adapter } from "../../src/domain/adapter.ts";
import type { InboundMessage } from "../../src/domain/inbound-message.ts";
import type { Instance } from "../../src/domain/instance.ts";
import type { LedgerNotice } from "../../src/domain/ledger.ts";
import type { ConversationRef, ResolvedMessage } from "../../src/domain/resolution.ts";
import { addresses } from "./addresses.ts";
import { demoBundle } from "./bundle.ts";
import { answering, conversationOver, objectDeps } from "./conversation.ts";
import { sqliteStorage } from "./sqlite-storage.ts";
import { messages as messagesOf } from "./whatsapp.ts";

export const BUSINESS = { number: "+15550001111", phoneNumberId: "100000000000001" };
export const PHONE = "16505551234";
const ADDRESS = addresses.whatsapp(BUSINESS, { phone: `+${PHONE}`, userId: null });
const USER = { id: "01a203c1-5b09-7963-9685-2aef74277b10", tier: "verified" as const };
const START = 1_749_416_383;

/** A webhook message said `second` seconds after the start. */
export const item = (id: string, second: number, more: Record<string, unknown>) => ({
  from: PHONE,
  id,
  timestamp: String(START + second),
  ...more,
});
export const text = (id: string, second: number, body: string) => item(id, second, { type: "text", text: { body } });
export const edit = (id: string, second: number, target: string, message: Record<string, unknown> | string) =>
  item(id, second, {
    type: "edit",
    edit: {
      original_message_id: target,
      message: typeof message === "string" ? { type: "text", text: { body: message } } : message,
    },
  });
export const revoke = (id: string, second: number, target: string) =>
  item(id, second, { type: "revoke", revoke: { original_message_id: target } });

type Options = {
  policy?: object;
  instance?: Partial<Instance>;
  answer?: Answer;
  /** What Postgres has of a quoted message. */
  quoted?: ResolvedMessage["quoted"];
  sender?: ChannelSender | null;
};
type Answer = (adapter: Adapter, signal: AbortSignal) => Promise<unknown>;

/** A conversation whose model answers as the test says. Every adapter it was given is kept. */
export function whatsappConversation({
  policy = {},
  instance = {},
  answer = async () => ({ text: "An answer" }),
  quoted = null,
  sender = null,
}: Options = {}) {
  const adapters: Adapter[] = [];
  const clock = { now: (START + 3_600) * 1000 };
  const bundle = demoBundle();
  bundle.config!.policy = policy;
  Object.assign(bundle.instance, { channel: "whatsapp", ...instance });
  const lookedUp: ConversationRef[] = [];
  const { deps } = objectDeps({
    now: () => clock.now,
    resolveWebhookMessage: async (_message, place) => {
      lookedUp.push(place);
      return { kind: "ready", bundle, user: USER, openSession: null, quoted };
    },
    sender: () => sender,
    orchestrator: answering(async (adapter, call) => {
      adapters.push(adapter);
      return answer(adapter, call.signal);
    }),
  });
  const parts = conversationOver({ storage: sqliteStorage(), deps, address: ADDRESS });
  const receivePayload = (payload: unknown): void => {
    const messages: InboundMessage[] = readWebhook(payload, clock.now).messages;
    receiveBatch(parts, {
      kind: "number",
      messages,
      statuses: [],
      aliases: [],
      traceId: "trace",
      receivedAt: clock.now,
    });
    parts.runner.runNext();
  };
  const receive = (...items: Record<string, unknown>[]): void => receivePayload(messagesOf(...items));
  const settled = async (): Promise<void> => {
    await vi.waitUntil(() => parts.turns.next() === null, { interval: 1 });
    await new Promise((resolve) => void setImmediate(resolve));
  };
  const stored = () => parts.outbox.pull(10_000_000).entries.flatMap(({ messages }) => messages);
  const notices = <Kind extends LedgerNotice["kind"]>(kind: Kind) =>
    parts.outbox
      .pull(10_000_000)
      .notices.filter((notice): notice is Extract<LedgerNotice, { kind: Kind }> => notice.kind === kind);
  /** The user's words as the model gets them with the next message. */
  const told = async (): Promise<string[]> => {
    receive(text("wamid.next", 3_000, "next"));
    await settled();
    return adapters
      .at(-1)!
      .history.filter(({ role }) => role === "user")
      .map(({ content }) => content);
  };
  return { ...parts, adapters, clock, lookedUp, receive, receivePayload, settled, stored, notices, told };
}
