import { channelOf } from "../channels/registry.ts";
import { nextRound } from "../db/broadcast-claims.ts";
import type { Deps } from "../deps.ts";
import { verdictOn } from "../domain/broadcast.ts";
import type { Attempt, Broadcast, Recipient, Verdict } from "../domain/broadcast.ts";
import { timeOfUuid } from "../domain/ids.ts";
import { sessionTimeoutMs } from "../domain/session.ts";
import type { Addresses } from "../domain/address.ts";
import type { Recording } from "../rpc/conversation.ts";
import { withTimeout } from "../domain/deadline.ts";
import { invalid } from "../domain/errors.ts";
import { MAX_CONTENT } from "../domain/message.ts";
import { truncate } from "../domain/text.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * Recipients of one round, attempted at once. Small, because the platform limits open calls per invocation: calls beyond
 * the limit would wait until their deadline.
 */
export const ROUND_SIZE = 10;
/** Deadline of one attempt. A later attempt is safe: conversations deduplicate messages by id. */
const ATTEMPT_MS = 10_000;
/** A broadcast that is not in Postgres this long after its id was made was never inserted. */
const NEVER_WRITTEN_MS = 60_000;

type DeliverDeps = Pick<Deps, "config" | "log" | "now" | "db" | "addresses" | "conversation" | "broadcastTimer">;

/**
 * Delivers a broadcast to the recipients that are due, round by round, and schedules its timer for the next ones. When it
 * is interrupted, its claims expire and the timer enqueues the broadcast again.
 */
export async function deliverBroadcast(deps: DeliverDeps, broadcastId: string): Promise<void> {
  const timer = deps.broadcastTimer(broadcastId);
  const start = await timer.current();
  let verdicts: Verdict[] = [];
  for (;;) {
    const round = await nextRound(deps, broadcastId, verdicts, ROUND_SIZE);
    if (round === null && timeOfUuid(broadcastId) > deps.now() - NEVER_WRITTEN_MS) return;
    if (round === null || round.recipients.length === 0) return timer.rest(start, round?.dueInMs ?? null);
    verdicts = await Promise.all(
      round.recipients.map(async (recipient) =>
        verdictOn(recipient, await attempt(deps, round.broadcast, recipient), Math.random()),
      ),
    );
    deps.log.info(EVENT.broadcastRound, {
      broadcast_id: broadcastId,
      recipients: verdicts.length,
      sent: verdicts.filter(({ state }) => state === "sent").length,
    });
  }
}

/** Records the message in one recipient's conversation. Never throws: a failure is this recipient's outcome. */
async function attempt(deps: DeliverDeps, broadcast: Broadcast, recipient: Recipient): Promise<Attempt> {
  if (!broadcast.isActive) return refused("No such instance");
  if (channelOf(broadcast.channel).delivery !== null && !broadcast.business?.phoneNumberId)
    return refused("The instance has no number to send from");
  const address = addressOf(deps.addresses, broadcast, recipient);
  if (address === null) return refused("The user has no WhatsApp number or id");
  if (recipient.isOptedOut)
    return { kind: "refused", code: "OPTED_OUT", message: "The user has stopped marketing messages" };
  try {
    const recording = recordingOf(broadcast, recipient, sessionTimeoutMs(broadcast, deps.config.sessionTimeoutMinutes));
    const conversation = deps.conversation(address);
    const outcome = await withTimeout(conversation.record(recording), ATTEMPT_MS, () => {
      throw new Error(`No answer within ${ATTEMPT_MS} ms`);
    });
    if (outcome.kind === "recorded") return { kind: "sent" };
    const { code, message } = outcome;
    return { kind: "refused", code, message };
  } catch (error) {
    deps.log.warn(EVENT.broadcastAttemptFailed, { error, broadcast_id: broadcast.id, user_id: recipient.userId });
    return { kind: "failed", code: "SERVICE_UNAVAILABLE", message: "The conversation could not be reached" };
  }
}

const refused = (message: string): Attempt => ({ kind: "refused", code: "RESOURCE_NOT_FOUND", message });

/**
 * The broadcast as a message of the assistant in one recipient's conversation, cut at the length of a message. Refuses
 * (400) a broadcast without an instance.
 */
export function recordingOf(broadcast: Broadcast, recipient: Recipient, sessionTimeoutMs: number): Recording {
  const { id, brandId, instanceId, channel, business, traceId } = broadcast;
  const { person } = recipient;
  if (!instanceId) throw invalid("instance_id", "instance_id is required");
  const content = truncate(broadcast.content, MAX_CONTENT);
  const cut = content === broadcast.content ? {} : { truncated: true };
  return {
    brandId,
    instanceId,
    userId: recipient.userId,
    channel,
    openSession: recipient.openSession,
    sessionTimeoutMs,
    messages: [
      {
        id: recipient.messageId,
        role: "assistant",
        content,
        saidAt: null,
        requestId: null,
        traceId,
        metadata: { ...broadcast.metadata, ...cut, channel: "broadcast", broadcast_id: id },
      },
    ],
    outbound: channelOf(channel).delivery &&
      business &&
      person && { channel, person, phoneNumberId: business.phoneNumberId, template: business.template },
  };
}

/** The address of the recipient's conversation with the instance; null without an identity on its channel. */
export function addressOf(
  addresses: Addresses,
  { instanceId, channel, business }: Broadcast,
  { userId, person }: Recipient,
): string | null {
  if (channelOf(channel).addressedBy === "user") return addresses.chat(instanceId, userId);
  return business && person && addresses.whatsapp(business, person);
}
