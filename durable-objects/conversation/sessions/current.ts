import { addressOfSession, numberOfSession, sessionIdAt } from "../../../src/domain/address.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import { isOver } from "../../../src/domain/session.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { FactStore } from "../stores/state.ts";

/** Somebody who wants to say something in a conversation. */
export type Visit = {
  /** The conversation's own. */
  address: string;
  brandId: string;
  instanceId: string;
  userId: string;
  channel: Channel;
  /** The open session Postgres knows of; used only when the object has none. */
  openSession: Session | null;
  sessionTimeoutMs: number;
  now: number;
};

/** Whether this is another one's conversation: of another brand, or of somebody else. */
export function isForeign(facts: FactStore, { brandId, userId }: Pick<Visit, "brandId" | "userId">): boolean {
  const owner = facts.get("owner");
  return owner !== null && (owner.brandId !== brandId || owner.userId !== userId);
}

/**
 * The session that what is said now belongs to: the object's own while it is open or busy, else the one Postgres knows of,
 * else a new one. Nothing is written: what is refused after this leaves no session behind.
 */
export function sessionFor(facts: FactStore, busy: boolean, visit: Visit): Session {
  const { openSession, sessionTimeoutMs, now } = visit;
  const current = facts.get("session");
  const isOpen = (session: Session) => !isOver(session, sessionTimeoutMs, now) && !isEnded(facts, session);
  if (current !== null && (busy || isOpen(current))) return current;
  if (openSession !== null && isOpen(openSession) && !isErased(facts, openSession.id)) return openSession;
  const { address, brandId, instanceId, userId, channel } = visit;
  return {
    id: sessionIdAt(address, nextNumber(facts, now)),
    brandId,
    instanceId,
    userId,
    channel,
    startedAt: now,
    lastMessageAt: now,
    lastAssistantMessageAt: null,
    tokenPlan: null,
  };
}

/** The second it begins in; two sessions of one second still get an id each, also when the first has been erased. */
const nextNumber = (facts: FactStore, now: number): number =>
  Math.max(Math.floor(now / 1000), (facts.get("lastNumber") ?? 0) + 1);

/** Somebody has ended it, and nothing was said in it since. */
export function isEnded(facts: FactStore, session: Pick<Session, "id" | "lastMessageAt">): boolean {
  const ended = facts.get("ended");
  return ended !== null && ended.sessionId === session.id && session.lastMessageAt <= ended.expiredAt;
}

/** What is left of a session whose words nobody may see again. */
export const isErased = (facts: FactStore, sessionId: string): boolean =>
  (facts.get("erased") ?? []).some((tombstone) => tombstone.sessionId === sessionId);

/** Makes it the conversation's session, and remembers to tell Postgres that the one before it is over. */
export function enter(facts: FactStore, session: Session, now: number): void {
  const current = facts.get("session");
  if (current !== null && current.id !== session.id) facts.set("closed", { sessionId: current.id, expiredAt: now });
  facts.set("owner", { brandId: session.brandId, userId: session.userId });
  facts.set("session", session);
  pass(facts, session.id);
}

/** No session that begins after this one gets its id, in whatever second it begins. */
export function pass(facts: FactStore, sessionId: string): void {
  if (addressOfSession(sessionId) === null) return;
  facts.set("lastNumber", Math.max(facts.get("lastNumber") ?? 0, numberOfSession(sessionId)));
}
