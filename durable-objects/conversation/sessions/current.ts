import { addressOfSession, numberOfSession, sessionIdAt } from "../../../src/domain/address.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import { isOver } from "../../../src/domain/session.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { StateStore } from "../stores/state.ts";

/** Somebody who wants to say something in a conversation. */
export type SessionLookup = {
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
export function isOwnedByAnother(
  state: StateStore,
  { brandId, userId }: Pick<SessionLookup, "brandId" | "userId">,
): boolean {
  const owner = state.get("owner");
  return owner !== null && (owner.brandId !== brandId || owner.userId !== userId);
}

/**
 * The session that what is said now belongs to: the object's own while it is open or busy, else the one Postgres knows of,
 * else a new one. Nothing is written: what is refused after this leaves no session behind.
 */
export function sessionFor(state: StateStore, busy: boolean, visit: SessionLookup): Session {
  const { openSession, sessionTimeoutMs, now } = visit;
  const current = state.get("session");
  const isOpen = (session: Session) => !isOver(session, sessionTimeoutMs, now) && !isEnded(state, session);
  if (current !== null && (busy || isOpen(current))) return current;
  if (openSession !== null && isOpen(openSession) && !isErased(state, openSession.id)) return openSession;
  const { address, brandId, instanceId, userId, channel } = visit;
  return {
    id: sessionIdAt(address, nextNumber(state, now)),
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
const nextNumber = (state: StateStore, now: number): number =>
  Math.max(Math.floor(now / 1000), (state.get("lastSessionNumber") ?? 0) + 1);

/** Somebody has ended it, and nothing was said in it since. */
export function isEnded(state: StateStore, session: Pick<Session, "id" | "lastMessageAt">): boolean {
  const ended = state.get("ended");
  return ended !== null && ended.sessionId === session.id && session.lastMessageAt <= ended.expiredAt;
}

/** What is left of a session whose words nobody may see again. */
export const isErased = (state: StateStore, sessionId: string): boolean =>
  (state.get("erased") ?? []).some((tombstone) => tombstone.sessionId === sessionId);

/** Makes it the conversation's session, and remembers to tell Postgres that the one before it is over. */
export function setCurrentSession(state: StateStore, session: Session, now: number): void {
  const current = state.get("session");
  if (current !== null && current.id !== session.id) state.set("closed", { sessionId: current.id, expiredAt: now });
  state.set("owner", { brandId: session.brandId, userId: session.userId });
  state.set("session", session);
  reserveSessionNumber(state, session.id);
}

/** No session that begins after this one gets its id, in whatever second it begins. */
export function reserveSessionNumber(state: StateStore, sessionId: string): void {
  if (addressOfSession(sessionId) === null) return;
  state.set("lastSessionNumber", Math.max(state.get("lastSessionNumber") ?? 0, numberOfSession(sessionId)));
}
