import { buildAdapter } from "../../../src/domain/adapter.ts";
import { toRefused } from "../../../src/domain/errors.ts";
import { inboundMessageIdOf, replyMessageIdOf } from "../../../src/domain/ids.ts";
import { assertBundleFits } from "../../../src/domain/instance.ts";
import { wantsReply, WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import type { ResolvedMessage, Resolution } from "../../../src/domain/resolution.ts";
import { sessionTimeoutMs } from "../../../src/domain/session.ts";
import type { Session } from "../../../src/domain/session.ts";
import { EVENT } from "../../../src/telemetry/events.ts";
import { setCurrentSession, sessionFor } from "../sessions/current.ts";
import type { Stores } from "../stores.ts";
import { quotedIn } from "../turns/quote.ts";
import type { Inbound, Origin, StoredTurn, Work } from "../stores/turn.ts";
import type { ChannelContext } from "./context.ts";
import { noteAmendments, noteContact, withoutRevoked } from "./notices.ts";
import { reject } from "./receive.ts";
import { recordMessage } from "./record.ts";
import { send } from "./send.ts";

/** Failed resolutions of one message before it becomes a dead letter. An unavailable Postgres does not count. */
const MAX_ATTEMPTS = 5;

type Options = { address: string; sessionTimeoutMs: number; now: number };
type InboundTurn = StoredTurn & { inbound: Inbound };
type Resolved = Exclude<Resolution, { kind: "unavailable" }>;

/**
 * Looks up instance and sender of a webhook message and applies the result. Returns false when Postgres is unavailable.
 * After the last attempt that threw, the message is a dead letter, so that it never blocks the queue.
 */
export async function resolve(context: ChannelContext, turn: InboundTurn, attempt: number): Promise<boolean> {
  try {
    const resolution = await lookUp(context, turn.inbound);
    if (resolution.kind === "unavailable") return false;
    commit(context, turn, resolution);
  } catch (error) {
    if (attempt < MAX_ATTEMPTS) throw error;
    const { state, deps, address } = context;
    deps.log.error(EVENT.messageResolutionFailed, { error, turn_id: turn.turnId, address });
    commit(context, turn, { kind: "rejected", reason: "not_prepared", brandId: state.get("owner")?.brandId ?? null });
  }
  return true;
}

function commit(context: ChannelContext, turn: InboundTurn, resolution: Resolved): void {
  const { address, deps, notifyLedger, cancelTurns } = context;
  const config = resolution.kind === "ready" ? resolution.bundle.config : null;
  const cancelled = applyResolution(context, turn, resolution, {
    address,
    sessionTimeoutMs: sessionTimeoutMs(config, deps.config.sessionTimeoutMinutes),
    now: deps.now(),
  });
  if (cancelled.length > 0) cancelTurns(cancelled);
  if (resolution.kind === "ready") sendGreeting(context, turn, resolution);
  if (resolution.kind === "rejected") {
    deps.log.warn(EVENT.messageRejected, { reason: resolution.reason, turn_id: turn.turnId, address });
  }
  notifyLedger();
}

/** The instance's greeting for a user who opened the chat; null for any message. */
const greetingOf = ({ inbound }: InboundTurn, { bundle }: ResolvedMessage): string | null =>
  inbound.message.kind === "welcome" ? bundle.instance.greeting?.trim() || null : null;

/** Sends the greeting that was recorded with the message, in the same synchronous step. */
function sendGreeting(context: ChannelContext, turn: InboundTurn, resolved: ResolvedMessage): void {
  const content = greetingOf(turn, resolved);
  const isRecorded = context.turns.find(turn.scope, turn.requestId)?.state === "done";
  if (content === null || !isRecorded) return;
  send(context, { id: replyMessageIdOf(turn.turnId), content }, originOf(turn, resolved), null);
}

/** While Postgres is unavailable a known conversation is resolved from its own state. */
async function lookUp(
  context: Pick<ChannelContext, "state" | "deps" | "address" | "outbox" | "deliveries">,
  { message }: Inbound,
): Promise<Resolution> {
  const { state, deps, address, deliveries } = context;
  const owner = state.get("owner");
  const bundle = state.get("bundle");
  const { replyTo = null } = message;
  const isElsewhere = replyTo !== null && quotedIn(context, replyTo) === null;
  const quoted = isElsewhere ? { channelMessageId: replyTo, messageId: deliveries.messageOf(replyTo) } : null;
  const found = await deps.resolveWebhookMessage(message, { address, owner, quoted });
  if (found.kind !== "unavailable" || owner === null || bundle === null || message.newIdentity !== null) return found;
  return { kind: "ready", bundle, user: { id: owner.userId, tier: "verified" }, openSession: null };
}

/**
 * Makes a webhook message a turn that can run, a recorded message or a dead letter. Synchronous. Returns the turns that
 * are rejected with it, because the number belongs to another user from now on.
 */
function applyResolution(stores: Stores, turn: InboundTurn, resolution: Resolved, options: Options): string[] {
  const { storage, state } = stores;
  return storage.transactionSync(() => {
    const before = state.get("session");
    apply(stores, turn, resolution, options);
    return before === null || state.get("session")?.id === before.id ? [] : rejectStranded(stores, before, options);
  });
}

function apply(stores: Stores, { scope, requestId }: InboundTurn, resolution: Resolved, options: Options): void {
  const { turns } = stores;
  const found = turns.find(scope, requestId);
  // An erasure during the look-up has erased this message too, and an edit has changed it.
  if (found === null || found.state !== "queued" || found.inbound === null) return;
  const turn = { ...found, inbound: found.inbound };
  if (resolution.kind === "rejected") return reject(stores, turn, resolution, options);
  if (resolution.kind === "known") return turns.close(turn, "done", WEBHOOK_MEMORY_MS, options.now);

  const { bundle } = resolution;
  const { brandId } = bundle.instance;
  const tooLarge = toRefused(() => assertBundleFits(JSON.stringify(bundle)));
  if (tooLarge !== null) return reject(stores, turn, { reason: "not_configured", brandId }, options);

  const session = enterSession(stores, turn, resolution, options);
  noteContact(stores, turn, resolution);
  const work = workOf(turn, resolution);
  const { message: inbound } = turn.inbound;
  if (!wantsReply(inbound)) {
    const greeting = greetingOf(turn, resolution);
    recordMessage(stores, turn, inbound, withoutRevoked(stores, inbound, work), session, { ...options, greeting });
    noteAmendments(stores, inbound, session);
    return;
  }

  const message = { ...work, id: inboundMessageIdOf(turn.turnId) };
  const adapter = { ...work, bundle, session, message, history: [], now: options.now };
  const refusal = toRefused(() => buildAdapter(adapter));
  if (refusal === null) return turns.applyResolution(turn, session.id, work);
  return reject(stores, turn, { reason: "not_configured", brandId }, options);
}

/** The session the message belongs to, made the current one. A number that has changed hands begins a new session. */
function enterSession(
  { state, turns, outbox }: Stores,
  turn: InboundTurn,
  { bundle, user, openSession: saved }: ResolvedMessage,
  { address, sessionTimeoutMs, now }: Options,
): Session {
  const { id: instanceId, brandId } = bundle.instance;
  const { channel } = turn.inbound.message;
  const current = state.get("session");
  const isSameInstance = current?.brandId === brandId && current.instanceId === instanceId;
  const isAnotherUser = isSameInstance && current.userId !== user.id;
  if (current !== null && (!isSameInstance || isAnotherUser)) {
    state.set("closed", { sessionId: current.id, expiredAt: now });
    state.remove("session");
  }
  // Postgres has deleted the user, so the model must not be told what they said.
  if (isAnotherUser) {
    outbox.deleteEntries();
    state.remove("profile");
  }
  const openSession = isAnotherUser && saved?.id === current.id ? null : saved;
  // A turn that waits was told its session, and what was said before it belongs there too.
  const isAwaited = current !== null && turns.pendingInSession(current.id).length > 0;
  const visit = { address, brandId, instanceId, userId: user.id, channel, openSession, sessionTimeoutMs, now };
  const found = sessionFor(state, isAwaited, visit);
  const session = { ...found, lastMessageAt: Math.max(found.lastMessageAt, turn.admittedAt) };
  setCurrentSession(state, session, now);
  state.set("bundle", bundle);
  return session;
}

/** Rejects turns that were admitted to a session the conversation has left. */
function rejectStranded(stores: Stores, { id, brandId }: Session, options: Options): string[] {
  const stranded = stores.turns.pendingInSession(id);
  for (const turn of stranded) reject(stores, turn, { reason: "conversation_left", brandId }, options);
  return stranded.map(({ turnId }) => turnId);
}

function workOf(turn: InboundTurn, resolved: ResolvedMessage): Work {
  const { inbound, admittedAt } = turn;
  const { user, quoted } = resolved;
  const { message, traceId, receivedAt, saidAt } = inbound;
  return {
    traceId,
    channel: message.channel,
    content: message.content,
    metadata: message.metadata,
    user,
    authState: "identified",
    receivedAt,
    saidAt: saidAt ?? admittedAt,
    origin: originOf(turn, resolved),
    replyTo: message.replyTo ?? null,
    quoted: quoted ?? null,
  };
}

const originOf = ({ inbound: { message } }: InboundTurn, { bundle }: ResolvedMessage): Origin => ({
  channel: message.channel,
  channelMessageId: message.id,
  person: message.person,
  phoneNumberId: message.business.phoneNumberId ?? bundle.instance.phoneNumberId,
  template: bundle.instance.whatsappTemplate ?? null,
});
