import { buildAdapter } from "../../../src/domain/adapter.ts";
import { inboundMessageIdOf } from "../../../src/domain/ids.ts";
import { wantsReply, WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import type { ResolvedMessage, Resolution } from "../../../src/domain/resolution.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";
import { clearOwner } from "./forwarding.ts";
import type { StateStore } from "../stores/state.ts";
import { reject } from "./receive.ts";
import type { Outbox } from "../stores/outbox.ts";
import { setCurrentSession, sessionFor } from "../sessions/current.ts";
import type { Inbound, StoredTurn, Work } from "../stores/turn.ts";
import type { TurnStore } from "../stores/turns.ts";
import { toRefused } from "../../../src/domain/errors.ts";

type Parts = { storage: Storage; state: StateStore; turns: TurnStore; outbox: Outbox };
type Options = { address: string; sessionTimeoutMs: number; now: number };

/**
 * Makes of a message that was taken in as it came what it turned out to be: a turn that can run, words that are only
 * kept, or a letter for somebody to look at. One synchronous step. Gives the turns nobody will be answered any more: the
 * number is somebody else's from now on, and they were the former one's.
 */
export function resolve(
  parts: Parts,
  turn: StoredTurn & { inbound: Inbound },
  preparation: Exclude<Resolution, { kind: "unavailable" }>,
  options: Options,
): string[] {
  const { storage, state } = parts;
  return storage.transactionSync(() => {
    const before = state.get("session");
    applyResolution(parts, turn, preparation, options);
    return before === null || state.get("session")?.id === before.id ? [] : rejectStranded(parts, before, options);
  });
}

function applyResolution(
  parts: Parts,
  turn: StoredTurn & { inbound: Inbound },
  preparation: Exclude<Resolution, { kind: "unavailable" }>,
  options: Options,
): void {
  const { turns } = parts;
  // Whoever erased the conversation while we asked has erased this too.
  if (turns.find(turn.scope, turn.requestId)?.state !== "queued") return;
  if (preparation.kind === "rejected") return reject(parts, turn, preparation, options);
  if (preparation.kind === "known") return turns.close(turn, "done", WEBHOOK_MEMORY_MS, options.now);

  const session = enterSession(parts, turn, preparation, options);
  const work = workOf(turn, preparation);
  if (!wantsReply(turn.inbound.message)) return recordMessage(parts, turn, work, session, options);

  const { bundle } = preparation;
  const message = { ...work, id: inboundMessageIdOf(turn.turnId) };
  const adapter = { ...work, bundle, session, message, history: [], now: options.now };
  const refusal = toRefused(() => buildAdapter(adapter));
  if (refusal === null) return turns.applyResolution(turn, session.id, work);
  const { brandId } = bundle.instance;
  return reject(parts, turn, { reason: "not_configured", brandId }, options);
}

/** The session the message belongs to, made this conversation's. A number that has changed hands begins anew. */
function enterSession(
  { storage, state, turns }: Parts,
  turn: StoredTurn,
  { bundle, user, openSession: saved }: ResolvedMessage,
  { address, sessionTimeoutMs, now }: Options,
): Session {
  const { id: instanceId, brandId } = bundle.instance;
  const current = state.get("session");
  const isSamePlace = current?.brandId === brandId && current.instanceId === instanceId;
  const isForgotten = isSamePlace && current.userId !== user.id;
  if (current !== null && (!isSamePlace || isForgotten)) {
    state.set("closed", { sessionId: current.id, expiredAt: now });
    state.remove("session");
  }
  // Postgres was made to forget the person, so what they said is not told to anybody any more.
  if (isForgotten) storage.sql.exec("DELETE FROM entries WHERE session_id <> ''");
  const visit = { address, brandId, instanceId, userId: user.id, channel: "whatsapp" as const };
  const openSession = isForgotten && saved?.id === current.id ? null : saved;
  // Who spoke after it and waits was told a session, and what came before them belongs there too.
  const isAwaited = current !== null && turns.pendingInSession(current.id).length > 0;
  const found = sessionFor(state, isAwaited, { ...visit, openSession, sessionTimeoutMs, now });
  const session = { ...found, lastMessageAt: Math.max(found.lastMessageAt, turn.admittedAt) };
  setCurrentSession(state, session, now);
  state.set("bundle", bundle);
  return session;
}

/** Turns that were admitted to a session this is not the place of any more: it can't be run here, nor said elsewhere. */
function rejectStranded(parts: Parts, { id, brandId }: Session, options: Options): string[] {
  const stranded = parts.turns.pendingInSession(id);
  for (const turn of stranded) reject(parts, turn, { reason: "conversation_left", brandId }, options);
  return stranded.map(({ turnId }) => turnId);
}

function workOf({ inbound, admittedAt }: StoredTurn & { inbound: Inbound }, { bundle, user }: ResolvedMessage): Work {
  const { message, traceId, receivedAt } = inbound;
  const { phoneNumberId, whatsappTemplate } = bundle.instance;
  return {
    traceId,
    channel: "whatsapp",
    content: message.content,
    metadata: message.metadata,
    user,
    authState: "identified",
    receivedAt,
    saidAt: admittedAt,
    origin: {
      channelMessageId: message.id,
      person: message.person,
      phoneNumberId: message.business.phoneNumberId ?? phoneNumberId,
      template: whatsappTemplate ?? null,
    },
  };
}

/** What is not answered goes to Postgres as it is, in its place. */
function recordMessage(
  { state, turns, outbox }: Parts,
  turn: StoredTurn & { inbound: Inbound },
  work: Work,
  session: Session,
  { address, now }: Options,
): void {
  const { role, id, became } = turn.inbound.message;
  const after = role === "assistant" ? { ...session, lastAssistantMessageAt: work.saidAt } : session;
  state.set("session", after);
  const message = {
    id: inboundMessageIdOf(turn.turnId),
    role,
    content: work.content,
    createdAt: work.saidAt,
    requestId: turn.requestId,
    traceId: work.traceId,
    channelMessageId: id,
    metadata: { ...work.metadata, channel: work.channel },
  };
  const closed = state.get("closed");
  outbox.add({ id: turn.turnId, address, session: after, closed, turn: null, messages: [message], usage: null });
  state.remove("closed");
  turns.close(turn, "done", WEBHOOK_MEMORY_MS, now);
  if (became !== null && became.phone !== null) clearOwner(state);
}
