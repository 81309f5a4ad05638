import { blank, isRevoked } from "../../../src/domain/amendment.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import { newTurnId } from "../../../src/domain/ids.ts";
import { requestIdOf } from "../../../src/domain/idempotency.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import type { WebhookBatch, Received } from "../../../src/rpc/conversation.ts";
import type { Stores } from "../stores.ts";
import type { StoredTurn } from "../stores/turn.ts";
import { amended, applyAmendment } from "./amend.ts";
import type { ChannelContext } from "./context.ts";
import { markFounded } from "./forwarding.ts";
import { announceDelivery } from "./send.ts";

/** Webhook messages that may wait in one conversation: more than callers get, since a webhook is not refused for one. */
const MAX_WAITING_MESSAGES = 1_000;

type Options = { address: string; now: number };

/**
 * Stores webhook messages at the end of the queue, each id once, and applies statuses. Synchronous: when it returns
 * everything is written, and nothing has been looked up.
 */
export function receive(context: ChannelContext, batch: WebhookBatch): Received {
  const { address, deps, storage, turns, deliveries, deliverySender } = context;
  const options = { address, now: deps.now() };
  const { accepted, interrupted } = storage.transactionSync(() => {
    let accepted = 0;
    const interrupted: string[] = [];
    for (const message of batch.messages) {
      if (turns.admission(requestOf(message.id, options), () => true, options.now).kind !== "new") continue;
      enqueue(context, amended(context, message), batch, options);
      interrupted.push(...applyAmendment(context, message, options));
      accepted += 1;
    }
    return { accepted, interrupted };
  });
  if (interrupted.length > 0) context.cancelTurns(interrupted);
  const unmatched = batch.statuses.filter((status) => {
    const messageId = deliveries.applyStatus(status);
    if (messageId !== null) announceDelivery(context, messageId);
    return messageId === null;
  });
  // A status may have queued a template.
  if (batch.statuses.length > 0) deliverySender.sendNext();
  return { accepted, duplicates: batch.messages.length - accepted, unmatched };
}

/** A webhook message is identified by its id alone; its content may differ when it is delivered again. */
const requestOf = (id: string, { address }: Options) => ({
  scope: address,
  requestId: requestIdOf(id),
  fingerprint: "webhook",
});

function enqueue(
  { state, turns, outbox }: Pick<Stores, "state" | "turns" | "outbox">,
  message: InboundMessage,
  { traceId, receivedAt }: WebhookBatch,
  options: Options,
): void {
  const { now } = options;
  const before = Math.max(state.get("session")?.lastMessageAt ?? 0, state.get("lastSaidAt") ?? 0);
  const admittedAt = Math.max(now, before + 1);
  const turn = { ...requestOf(message.id, options), turnId: newTurnId(now), sessionId: "", admittedAt };
  const isFull = turns.pendingCount() >= MAX_WAITING_MESSAGES;
  const saidAt = saidAtOf(message, [before, state.get("lastSentAt") ?? 0], admittedAt);
  turns.enqueue({ ...turn, inbound: { message, traceId, receivedAt, saidAt } });
  state.set("lastSaidAt", admittedAt);
  state.set("lastSentAt", saidAt);
  if (message.role !== "system") markFounded(state, now);
  // Opening the chat opens the service window as a message does.
  if (message.role === "user" || message.kind === "welcome")
    state.set("lastHeardAt", Math.max(message.sentAt, state.get("lastHeardAt") ?? 0));
  const enqueued = isFull ? turns.find(turn.scope, turn.requestId) : null;
  if (enqueued !== null) reject({ turns, outbox }, enqueued, { reason: "too_many_waiting", brandId: null }, options);
}

/**
 * When a message was said. The channel states whole seconds, so a message follows those that are known of its second:
 * `earlier` holds the times of the last one and of the last activity here.
 */
function saidAtOf({ sentAt }: InboundMessage, earlier: readonly number[], admittedAt: number): number {
  const ofSameSecond = earlier.filter((at) => at >= sentAt && at < sentAt + 1_000);
  return Math.min(Math.max(sentAt, ...ofSameSecond.map((at) => at + 1)), admittedAt);
}

/** Rejects a turn, and writes its message to the dead letters. */
export function reject(
  { turns, outbox }: Pick<Stores, "turns" | "outbox">,
  turn: StoredTurn,
  { reason, brandId }: { reason: string; brandId: string | null },
  { address, now }: Options,
): void {
  const message = turn.inbound?.message ?? turn.work;
  const traceId = (turn.inbound ?? turn.work)?.traceId;
  turns.close(turn, "rejected", WEBHOOK_MEMORY_MS, now);
  outbox.addNotice({
    kind: "dead_letter",
    id: turn.turnId,
    brandId,
    address,
    source: channelOf(turn),
    reason,
    payload: { message: message && (isRevoked(message) ? blank(message) : message), trace_id: traceId },
  });
}

function channelOf({ inbound, work }: StoredTurn): Channel {
  const channel = inbound?.message.channel ?? work?.channel;
  if (channel === undefined) throw new Error("A turn without a message can't be rejected");
  return channel;
}
