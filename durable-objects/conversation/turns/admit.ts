import { buildAdapter } from "../../../src/domain/adapter.ts";
import type { AdapterInput } from "../../../src/domain/adapter.ts";
import { scopeFor } from "../../../src/domain/idempotency.ts";
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
  /** True when somebody in this incarnation of the object waits for the turn. */
  held: (turnId: string) => boolean;
  sessionTimeoutMs: number;
  /** New turns of one conversation in a minute; 0 for no limit. */
  turnsPerMinute: number;
  now: number;
};

/**
 * What has made an adapter makes one again: the message itself is small and its shape was looked at. A bundle may be known
 * to its conversation and never have made one.
 */
const validatedBundles = new WeakSet<InstanceBundle>();

/** `enter`: the caller holds this turn and waits for it. Everything else is an answer. */
export type AdmitOutcome = { kind: "enter"; turnId: string; sessionId: string } | SubmitOutcome;

/** Decides what becomes of a message that has arrived. One synchronous step: what it says is already written. */
export function admit(
  { storage, state, turns }: Pick<Stores, "storage" | "state" | "turns">,
  submission: Submission,
  options: Options,
): AdmitOutcome {
  const message = asOwner(state, submission);
  const { address, now, sessionTimeoutMs } = options;
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
  const scope = scopeFor({ channel: message.channel, address, instanceId: instance.id }, session.id);
  const admission = turns.admission({ ...message, scope }, options.held, now);
  const prior = priorOutcome(admission);
  if (prior !== null) return prior;
  if (admission.kind === "take_over") return { kind: "enter", turnId: admission.turn.turnId, sessionId: session.id };

  const limit = limited(turns, waiting, message, options);
  if (limit !== null) return limit;

  const turnId = newTurnId(now);
  const lastSaidAt = Math.max(current?.lastMessageAt ?? 0, state.get("lastSaidAt") ?? 0);
  const saidAt = Math.max(now, lastSaidAt + 1);
  const said = { ...session, lastMessageAt: saidAt };
  const isProven = validatedBundles.has(message.bundle);
  const refusal = isProven ? null : toRefused(() => buildAdapter(adapterInput(message, said, turnId, now)));
  if (refusal !== null) return refusal;
  validatedBundles.add(message.bundle);

  storage.transactionSync(() => {
    setCurrentSession(state, said, now);
    if (state.get("bundle") !== message.bundle) state.set("bundle", message.bundle);
    const { traceId, channel, content, metadata, user, authState, receivedAt } = message;
    const work = { traceId, channel, content, metadata, user, authState, receivedAt, saidAt, origin: null };
    turns.enqueue({ ...message, scope, turnId, sessionId: session.id, admittedAt: now, work });
  });
  return { kind: "enter", turnId, sessionId: session.id };
}

const adapterInput = (message: Submission, session: Session, turnId: string, now: number): AdapterInput => ({
  ...message,
  session,
  message: { ...message, id: inboundMessageIdOf(turnId) },
  history: [],
  now,
});

/** On WhatsApp the address is the person: whoever takes them for somebody they were before is put right. */
function asOwner(state: StateStore, message: Submission): Submission {
  const owner = state.get("owner");
  const isTheirs = message.channel === "whatsapp" && owner?.brandId === message.bundle.instance.brandId;
  return isTheirs ? { ...message, user: { ...message.user, id: owner.userId } } : message;
}

/** Only new turns count: a duplicate has been answered before this. */
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
