import type { ChannelDefinition } from "../../../src/channels/channel.ts";
import { buildAdapter } from "../../../src/domain/adapter.ts";
import type { AdapterInput } from "../../../src/domain/adapter.ts";
import { requestScope } from "../../../src/domain/idempotency.ts";
import { markFounded } from "../channel/forwarding.ts";
import { withWarnings } from "../../../src/domain/message.ts";
import { inboundMessageIdOf, newTurnId } from "../../../src/domain/ids.ts";
import type { InstanceBundle } from "../../../src/domain/instance.ts";
import type { Session } from "../../../src/domain/session.ts";
import { MAX_WAITING_TURNS } from "../../../src/domain/turn.ts";
import type { StateStore } from "../stores/state.ts";
import { priorOutcome, RETRY_AFTER_MS } from "./status.ts";
import { setCurrentSession, isOwnedByAnother, sessionFor } from "../sessions/current.ts";
import type { TurnStore } from "../stores/turns.ts";
import type { Submission, SubmitOutcome } from "../../../src/domain/submission.ts";
import { toRefused } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

const MINUTE_MS = 60_000;

type Options = {
  /** The conversation's own. */
  address: string;
  /** True when a caller of this incarnation waits for the turn's answer. */
  hasWaiter: (turnId: string) => boolean;
  /**
   * Bundles an adapter has been built from. Validation depends on the bundle only, so later messages skip it. Being the
   * conversation's current bundle proves nothing: a resolved webhook message stores it before it is validated.
   */
  validatedBundles: WeakSet<InstanceBundle>;
  channel: Pick<ChannelDefinition, "addressedBy">;
  sessionTimeoutMs: number;
  /** How long a run may take, in milliseconds. */
  leaseMs: number;
  /** New turns of one conversation in a minute; 0 for no limit. */
  turnsPerMinute: number;
  now: number;
};

/** `admitted`: the caller waits for this turn's answer. Everything else is the answer. */
export type AdmitOutcome = { kind: "admitted"; turnId: string; sessionId: string } | SubmitOutcome;

/** Admits a message as a turn, joins it to the turn with its request id, or refuses it. Synchronous; everything it reports is committed. */
export function admit(
  { storage, state, turns }: Pick<Stores, "storage" | "state" | "turns">,
  submission: Submission,
  options: Options,
): AdmitOutcome {
  const message = asOwner(state, submission, options.channel);
  const { address, now, sessionTimeoutMs, validatedBundles } = options;
  const { instance } = message.bundle;
  const visit = {
    address,
    brandId: instance.brandId,
    instanceId: instance.id,
    userId: message.user.id,
    channel: message.channel,
    openSession: message.openSession,
    sessionTimeoutMs,
    now,
  };
  if (isOwnedByAnother(state, visit)) {
    return { kind: "refused", code: "RESOURCE_NOT_FOUND", message: "No such conversation", details: {} };
  }

  const current = state.get("session");
  const waiting = turns.pendingCount();
  const session = sessionFor(state, waiting > 0, visit);
  const scope = requestScope(options.channel, { address, instanceId: instance.id }, session.id);
  const admission = turns.admission({ ...message, scope }, options.hasWaiter, now);
  const prior = priorOutcome(admission);
  if (prior !== null) return prior;
  if (admission.kind === "take_over") return { kind: "admitted", turnId: admission.turn.turnId, sessionId: session.id };

  const limit = limited(turns, waiting, message, options);
  if (limit !== null) return limit;

  const turnId = newTurnId(now);
  const lastSaidAt = Math.max(current?.lastMessageAt ?? 0, state.get("lastSaidAt") ?? 0);
  const saidAt = Math.max(now, lastSaidAt + 1);
  const said = { ...session, lastMessageAt: saidAt };
  const isValidated = validatedBundles.has(message.bundle);
  const refusal = isValidated ? null : toRefused(() => buildAdapter(adapterInput(message, said, turnId, now)));
  if (refusal !== null) return refusal;
  validatedBundles.add(message.bundle);

  storage.transactionSync(() => {
    setCurrentSession(state, said, now);
    if (options.channel.addressedBy === "contact") markFounded(state, now);
    if (state.get("bundle") !== message.bundle) state.set("bundle", message.bundle);
    const { traceId, channel, content, metadata, user, authState, receivedAt } = message;
    const request = { traceId, channel, content, metadata, ...withWarnings(message.warnings) };
    const { replyTo = null } = message;
    const work = { ...request, user, authState, receivedAt, saidAt, origin: null, replyTo };
    turns.enqueue({ ...message, scope, turnId, sessionId: session.id, admittedAt: now, work }, options.leaseMs);
  });
  return { kind: "admitted", turnId, sessionId: session.id };
}

const adapterInput = (message: Submission, session: Session, turnId: string, now: number): AdapterInput => ({
  ...message,
  session,
  message: { ...message, id: inboundMessageIdOf(turnId) },
  history: [],
  now,
});

/** Where the contact is the address, it identifies the user: a stale user id from the caller's cache is replaced by the owner's. */
function asOwner(
  state: StateStore,
  message: Submission,
  { addressedBy }: Pick<ChannelDefinition, "addressedBy">,
): Submission {
  const owner = state.get("owner");
  const isTheirs = addressedBy === "contact" && owner?.brandId === message.bundle.instance.brandId;
  return isTheirs ? { ...message, user: { ...message.user, id: owner.userId } } : message;
}

/** The refusal of a new turn by a rate limit, or null. Duplicates are answered before this and never count. */
function limited(
  turns: TurnStore,
  waiting: number,
  { exhausted }: Submission,
  { turnsPerMinute, now }: Options,
): SubmitOutcome | null {
  if (exhausted) return { kind: "limited", scope: "instance", ...exhausted };
  const oldest = turnsPerMinute > 0 ? turns.admissionTime(turnsPerMinute) : null;
  if (oldest !== null && oldest > now - MINUTE_MS) {
    return { kind: "limited", scope: "user", retryAfterMs: oldest + MINUTE_MS - now };
  }
  // The running turn is not waiting.
  if (waiting > MAX_WAITING_TURNS) {
    return { kind: "limited", scope: "conversation", retryAfterMs: RETRY_AFTER_MS };
  }
  return null;
}
