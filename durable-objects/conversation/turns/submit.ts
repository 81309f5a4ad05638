import type { ObjectDeps } from "../../../src/deps.ts";
import { jittered } from "../../../src/domain/backoff.ts";
import { sessionNotFound, toRefused } from "../../../src/domain/errors.ts";
import { inboundMessageIdOf } from "../../../src/domain/ids.ts";
import { assertBundleFits } from "../../../src/domain/instance.ts";
import type { InstanceBundle } from "../../../src/domain/instance.ts";
import { sessionTimeoutMs } from "../../../src/domain/session.ts";
import type { SubmitOutcome, WireSubmission } from "../../../src/domain/submission.ts";
import type { Alarm } from "../../runtime/alarm.ts";
import { admit } from "./admit.ts";
import type { TurnRunner } from "./runner.ts";
import type { Stores } from "../stores.ts";

/**
 * When the first alarm after an admission fires. One alarm serves a burst of messages; jittered so that a burst does not
 * wake all objects at once.
 */
export const firstAlarmMs = (): number => jittered(15_000, [1, 4 / 3], Math.random());

type Conversation = Pick<Stores, "storage" | "state" | "turns" | "outbox"> & {
  address: string;
  runner: Pick<TurnRunner, "hasWaiter" | "wait">;
  alarm: Pick<Alarm, "noLaterThan">;
  validatedBundles: WeakSet<InstanceBundle>;
};

/** Admits a message and waits for its turn's answer. */
export async function submit(
  conversation: Conversation,
  { channel, config, now }: Pick<ObjectDeps, "channel" | "config" | "now">,
  wire: WireSubmission,
): Promise<SubmitOutcome> {
  const { state, turns, outbox, runner, alarm, address, validatedBundles } = conversation;
  if (wire.written !== undefined) outbox.confirm(wire.written);
  const refusal = toRefused(() => assertBundleFits(wire.bundle));
  if (refusal !== null) return refusal;
  const submission = { ...wire, bundle: state.read("bundle", wire.bundle) };
  const outcome = admit(conversation, submission, {
    address,
    hasWaiter: runner.hasWaiter,
    validatedBundles,
    sessionTimeoutMs: sessionTimeoutMs(submission.bundle.config, config.sessionTimeoutMinutes),
    channel: channel(submission.channel),
    leaseMs: config.lockExpirySeconds * 1000,
    turnsPerMinute: config.rateLimitUserPerMinute,
    now: now(),
  });
  if (outcome.kind !== "admitted") return outcome;
  const { turnId, sessionId } = outcome;
  alarm.noLaterThan(now() + firstAlarmMs());
  const settled = await runner.wait(turnId, () => turns.isQueued(turnId));
  if (settled === "cancelled") return sessionNotFound(sessionId);
  if (settled === "queued") return { kind: "accepted", sessionId, inboundMessageId: inboundMessageIdOf(turnId) };
  const { answer, entry } = settled;
  return { kind: "answered", answer, ...(entry === null ? {} : { entry }) };
}
