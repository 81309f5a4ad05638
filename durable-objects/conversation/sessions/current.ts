import { newSessionId } from "../../../src/domain/address.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import { isOver } from "../../../src/domain/session.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { StateStore } from "../stores/state.ts";

/** The sender of a message and their place. */
export type SessionLookup = {
  /** The conversation's own. */
  address: string;
  brandId: string;
  instanceId: string;
  userId: string;
  channel: Channel;
  /** The open session in Postgres; used only when the object has none. */
  openSession: Session | null;
  sessionTimeoutMs: number;
  now: number;
};

/** True when the conversation belongs to another brand or user. */
export function isOwnedByAnother(
  state: StateStore,
  { brandId, userId }: Pick<SessionLookup, "brandId" | "userId">,
): boolean {
  const owner = state.get("owner");
  return owner !== null && (owner.brandId !== brandId || owner.userId !== userId);
}

/**
 * The session of a message: the object's own while it is open or has pending turns, else the open one in Postgres, else a
 * new one. Writes nothing, so a message refused later leaves no session behind.
 */
export function sessionFor(state: StateStore, busy: boolean, visit: SessionLookup): Session {
  const { openSession, sessionTimeoutMs, now } = visit;
  const current = state.get("session");
  const isOpen = (session: Session) => !isOver(session, sessionTimeoutMs, now) && !isEnded(state, session);
  if (current !== null && (busy || isOpen(current))) return current;
  if (openSession !== null && isOpen(openSession) && !isErased(state, openSession.id)) return openSession;
  const { address, brandId, instanceId, userId, channel } = visit;
  return {
    id: newSessionId(address),
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

/** True when the session was ended through the API and has no later message. */
export function isEnded(state: StateStore, session: Pick<Session, "id" | "lastMessageAt">): boolean {
  const ended = state.get("ended");
  return ended !== null && ended.sessionId === session.id && session.lastMessageAt <= ended.expiredAt;
}

/** True when the session has a tombstone. */
export const isErased = (state: StateStore, sessionId: string): boolean =>
  (state.get("erased") ?? []).some((tombstone) => tombstone.sessionId === sessionId);

/** Makes a session the conversation's current one. The next ledger entry reports the end of the session before. */
export function setCurrentSession(state: StateStore, session: Session, now: number): void {
  const current = state.get("session");
  if (current !== null && current.id !== session.id) state.set("closed", { sessionId: current.id, expiredAt: now });
  state.set("owner", { brandId: session.brandId, userId: session.userId });
  // The turn or entry written with it holds the times of a session that goes on.
  if (current?.id === session.id) state.hold("session", session);
  else state.set("session", session);
}
