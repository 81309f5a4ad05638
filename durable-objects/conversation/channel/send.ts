import type { Channel } from "../../../src/domain/channel.ts";
import { referenceOf } from "../../../src/domain/delivery.ts";
import type { Outbound, RecordedMessage, Undeliverable } from "../../../src/rpc/conversation.ts";
import { EVENT } from "../../../src/telemetry/events.ts";
import type { ChannelContext } from "./context.ts";
import { WINDOW_CLOSED } from "./sender.ts";

type Context = Pick<ChannelContext, "address" | "state" | "deliveries" | "outbox" | "deps" | "notifyLedger">;

/** Queues a message for delivery and sends it. */
export function send(
  context: Context & Pick<ChannelContext, "deliverySender">,
  ...message: Parameters<typeof queue> extends [unknown, ...infer Rest] ? Rest : never
): void {
  queue(context, ...message);
  context.deliverySender.sendNext();
}

/**
 * Queues a message for delivery, in the transaction that stores it. A message that was queued before is not sent again.
 * `replyTo` is the channel's id of the message it answers. `deliverySender.sendNext` sends it after the commit.
 */
export function queue(
  context: Context,
  { id: messageId, content }: Pick<RecordedMessage, "id" | "content">,
  { channel, person, phoneNumberId, template }: Outbound,
  replyTo: string | null,
): void {
  const { state, deliveries, deps } = context;
  const owner = state.get("owner");
  const { delivery } = deps.channel(channel);
  if (delivery === null || phoneNumberId === null || owner === null) {
    deps.log.error(EVENT.deliveryEndpointMissing, { message_id: messageId });
    return;
  }
  const reference = (part: number) => referenceOf(messageId, part, context.address);
  const now = deps.now();
  const fallback = template && delivery.renderTemplate(person, reference(1), template);
  const requests =
    fallback !== null && !isServiceWindowOpen(context, channel, now)
      ? [fallback.request]
      : delivery.renderText(person, reference, { content, replyTo });
  deliveries.queue({ messageId, channel, brandId: owner.brandId, phoneNumberId, requests, template: fallback }, now);
  announceDelivery(context, messageId);
}

const OPTED_OUT: Undeliverable = {
  kind: "undeliverable",
  code: "OPTED_OUT",
  message: "The user has stopped marketing messages",
};

/**
 * Why a broadcast's message can't be sent now, or null. A message that is being sent or was sent can always be recorded again.
 */
export function undeliverable(
  context: Pick<ChannelContext, "state" | "deliveries" | "deps">,
  { id }: Pick<RecordedMessage, "id">,
  { channel, template }: Outbound,
): Undeliverable | null {
  const { deliveries, deps, state } = context;
  if (deliveries.isUnderWay(id)) return null;
  if (state.get("marketing")?.value === "stop") return OPTED_OUT;
  if (template !== null || isServiceWindowOpen(context, channel, deps.now())) return null;
  return { kind: "undeliverable", code: String(WINDOW_CLOSED.code), message: WINDOW_CLOSED.reason };
}

/** Whether the channel accepts free-form messages to the contact now. */
export function isServiceWindowOpen(
  { state, deps }: Pick<ChannelContext, "state"> & { deps: Pick<ChannelContext["deps"], "channel"> },
  channel: Channel,
  now: number,
): boolean {
  const { delivery } = deps.channel(channel);
  return delivery !== null && now - (state.get("lastHeardAt") ?? 0) < delivery.serviceWindowMs;
}

/** Tells the ledger the state of a message's delivery, if it changed since the last time. */
export function announceDelivery(
  { deliveries, outbox, notifyLedger }: Pick<ChannelContext, "deliveries" | "outbox" | "notifyLedger">,
  messageId: string,
): void {
  const change = deliveries.takeChange(messageId);
  if (change === null) return;
  const { brandId, delivery, content, wasFailed } = change;
  // The next prompt holds what was sent: the template instead of the message, and no message that failed.
  if (content !== null || wasFailed || delivery.state === "failed") {
    outbox.amend({ id: messageId }, (message) => ({
      ...message,
      content: content ?? message.content,
      metadata: { ...message.metadata, delivery },
    }));
  }
  outbox.addNotice({ kind: "delivery", messageId, brandId, delivery, content });
  notifyLedger();
}
