import { buildAdapter } from "../../../src/domain/adapter.ts";
import { inboundMessageIdOf } from "../../../src/domain/ids.ts";
import { wantsReply } from "../../../src/domain/inbound-message.ts";
import type { Introduction, Preparation } from "../../../src/domain/resolution.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";
import { leave } from "./forwarding.ts";
import type { FactStore } from "../stores/state.ts";
import { reject, WEBHOOK_MEMORY_MS } from "./receive.ts";
import type { Outbox } from "../stores/outbox.ts";
import { refusalOf } from "../refusal.ts";
import { enter, sessionFor } from "../sessions/current.ts";
import type { Inbound, StoredTurn, Turns, Work } from "../stores/turns.ts";

type Parts = { storage: Storage; facts: FactStore; turns: Turns; outbox: Outbox };
type Options = { address: string; sessionTimeoutMs: number; now: number };

/**
 * Makes of a message that was taken in as it came what it turned out to be: a turn that can run, words that are only
 * kept, or a letter for somebody to look at. One synchronous step. Gives the turns nobody will be answered any more: the
 * number is somebody else's from now on, and they were the former one's.
 */
export function prepare(
  parts: Parts,
  turn: StoredTurn & { inbound: Inbound },
  preparation: Exclude<Preparation, { kind: "unavailable" }>,
  options: Options,
): string[] {
  const { storage, facts } = parts;
  return storage.transactionSync(() => {
    const before = facts.get("session");
    become(parts, turn, preparation, options);
    return before === null || facts.get("session")?.id === before.id ? [] : putAside(parts, before, options);
  });
}

function become(
  parts: Parts,
  turn: StoredTurn & { inbound: Inbound },
  preparation: Exclude<Preparation, { kind: "unavailable" }>,
  options: Options,
): void {
  const { turns } = parts;
  // Whoever erased the conversation while we asked has erased this too.
  if (turns.find(turn.scope, turn.requestId)?.state !== "queued") return;
  if (preparation.kind === "rejected") return reject(parts, turn, preparation, options);
  if (preparation.kind === "known") return turns.close(turn, "done", WEBHOOK_MEMORY_MS, options.now);

  const session = join(parts, turn, preparation, options);
  const work = workOf(turn, preparation);
  if (!wantsReply(turn.inbound.message)) return keep(parts, turn, work, session, options);

  const { bundle } = preparation;
  const message = { ...work, id: inboundMessageIdOf(turn.turnId) };
  const adapter = { ...work, bundle, session, message, history: [], now: options.now };
  const refusal = refusalOf(() => buildAdapter(adapter));
  if (refusal === null) return turns.prepare(turn, session.id, work);
  const { brandId } = bundle.instance;
  return reject(parts, turn, { reason: "not_configured", brandId }, options);
}

/** The session the message belongs to, made this conversation's. A number that has changed hands begins anew. */
function join(
  { storage, facts, turns }: Parts,
  turn: StoredTurn,
  { bundle, user, openSession: saved }: Introduction,
  { address, sessionTimeoutMs, now }: Options,
): Session {
  const { id: instanceId, brandId } = bundle.instance;
  const current = facts.get("session");
  const isSamePlace = current?.brandId === brandId && current.instanceId === instanceId;
  const isForgotten = isSamePlace && current.userId !== user.id;
  if (current !== null && (!isSamePlace || isForgotten)) {
    facts.set("closed", { sessionId: current.id, expiredAt: now });
    facts.remove("session");
  }
  // Postgres was made to forget the person, so what they said is not told to anybody any more.
  if (isForgotten) storage.sql.exec("DELETE FROM entries WHERE session_id <> ''");
  const visit = { address, brandId, instanceId, userId: user.id, channel: "whatsapp" as const };
  const openSession = isForgotten && saved?.id === current.id ? null : saved;
  // Who spoke after it and waits was told a session, and what came before them belongs there too.
  const isAwaited = current !== null && turns.waitingIn(current.id).length > 0;
  const found = sessionFor(facts, isAwaited, { ...visit, openSession, sessionTimeoutMs, now });
  const session = { ...found, lastMessageAt: Math.max(found.lastMessageAt, turn.admittedAt) };
  enter(facts, session, now);
  facts.set("bundle", bundle);
  return session;
}

/** Turns that were admitted to a session this is not the place of any more: it can't be run here, nor said elsewhere. */
function putAside(parts: Parts, { id, brandId }: Session, options: Options): string[] {
  const stranded = parts.turns.waitingIn(id);
  for (const turn of stranded) reject(parts, turn, { reason: "conversation_left", brandId }, options);
  return stranded.map(({ turnId }) => turnId);
}

function workOf({ inbound, admittedAt }: StoredTurn & { inbound: Inbound }, { bundle, user }: Introduction): Work {
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
function keep(
  { facts, turns, outbox }: Parts,
  turn: StoredTurn & { inbound: Inbound },
  work: Work,
  session: Session,
  { address, now }: Options,
): void {
  const { role, id, became } = turn.inbound.message;
  const after = role === "assistant" ? { ...session, lastAssistantMessageAt: work.saidAt } : session;
  facts.set("session", after);
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
  const closed = facts.get("closed");
  outbox.add({ id: turn.turnId, address, session: after, closed, turn: null, messages: [message], usage: null });
  facts.remove("closed");
  turns.close(turn, "done", WEBHOOK_MEMORY_MS, now);
  if (became !== null && became.phone !== null) leave(facts);
}
