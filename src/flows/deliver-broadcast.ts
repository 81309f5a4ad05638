import { nextRound } from "../db/broadcast-claims.ts";
import type { Deps } from "../deps.ts";
import { verdictOn } from "../domain/broadcast.ts";
import type { Attempt, Broadcast, Recipient, Verdict } from "../domain/broadcast.ts";
import { timeOfUuid } from "../domain/ids.ts";
import { sessionTimeoutMs } from "../domain/session.ts";
import { chatAddress, whatsappAddress } from "../domain/address.ts";
import type { Recording } from "../rpc/conversation.ts";
import { invalid } from "../domain/errors.ts";
import { MAX_CONTENT } from "../domain/message.ts";
import { truncate } from "../domain/text.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * How many are reached at once. Few, because whoever says something to this instance meanwhile shares the machine with
 * them, and because the platform keeps only a handful of calls open: those behind it would wait out their deadline.
 */
export const ROUND_SIZE = 10;
/** A conversation that has not answered by then is tried again later; it keeps a message that comes twice once. */
const ATTEMPT_MS = 10_000;
/** A broadcast that is not in Postgres so long after its id was made never will be. */
const NEVER_WRITTEN_MS = 60_000;

type DeliverDeps = Pick<Deps, "config" | "log" | "now" | "db" | "conversation" | "broadcastTimer">;

/**
 * Reaches everybody of a broadcast who is due, round by round, and tells its timer when somebody is due again. Whatever
 * stops it in the middle, the claims it held run out and the timer rings again.
 */
export async function deliverBroadcast(deps: DeliverDeps, broadcastId: string): Promise<void> {
  const timer = deps.broadcastTimer(broadcastId);
  const start = await timer.current();
  let verdicts: Verdict[] = [];
  for (;;) {
    const round = await nextRound(deps.db, broadcastId, verdicts, ROUND_SIZE);
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

/** Gives one person's conversation the message. Whatever goes wrong is an outcome and stays with this person. */
async function attempt(deps: DeliverDeps, broadcast: Broadcast, recipient: Recipient): Promise<Attempt> {
  if (!broadcast.isActive) return refused("No such instance");
  if (broadcast.business?.phoneNumberId === null) return refused("The instance has no number to write from");
  const address = addressOf(broadcast, recipient);
  if (address === null) return refused("The user has no number to be written to");
  try {
    const recording = recordingOf(broadcast, recipient, sessionTimeoutMs(broadcast, deps.config.sessionTimeoutMinutes));
    const conversation = deps.conversation(address);
    const outcome = await withDeadline(conversation.record(recording));
    if (outcome.kind === "recorded") return { kind: "sent" };
    return { kind: "refused", code: outcome.code, message: outcome.message };
  } catch (error) {
    deps.log.warn(EVENT.broadcastAttemptFailed, { error, broadcast_id: broadcast.id, user_id: recipient.userId });
    return { kind: "failed", code: "SERVICE_UNAVAILABLE", message: "The conversation could not be reached" };
  }
}

const refused = (message: string): Attempt => ({ kind: "refused", code: "RESOURCE_NOT_FOUND", message });

async function withDeadline<T>(work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`No answer within ${ATTEMPT_MS} ms`)), ATTEMPT_MS);
  });
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A broadcast as one person's conversation keeps it: said by the assistant, never longer than a message may be. Refuses
 * (400) one without an instance.
 */
export function recordingOf(broadcast: Broadcast, recipient: Recipient, sessionTimeoutMs: number): Recording {
  const { id, brandId, instanceId, channel, business, traceId } = broadcast;
  const { person } = recipient;
  if (!instanceId) throw invalid("instance_id", "instance_id is required");
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
        content: truncate(broadcast.content, MAX_CONTENT),
        saidAt: null,
        requestId: null,
        traceId,
        metadata: { ...broadcast.metadata, channel: "broadcast", broadcast_id: id },
      },
    ],
    outbound: business && person && { person, phoneNumberId: business.phoneNumberId, template: business.template },
  };
}

/** Where somebody's conversation with the instance is; null when nothing leads there. */
export function addressOf({ instanceId, business }: Broadcast, { userId, person }: Recipient): string | null {
  if (business === null) return chatAddress(instanceId, userId);
  return person && whatsappAddress(business, person);
}
