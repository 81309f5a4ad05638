import type { Channel } from "../../src/domain/channel.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import { isOver } from "../../src/domain/session.ts";
import type { Session } from "../../src/domain/session.ts";
import type { FactStore } from "./facts.ts";

/** Somebody who wants to say something in a conversation. */
export type Visit = {
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
export function sessionFor(current: Session | null, busy: boolean, visit: Visit): Session {
  const { openSession, sessionTimeoutMs, now } = visit;
  const isOpen = (session: Session) => !isOver(session, sessionTimeoutMs, now);
  if (current !== null && (busy || isOpen(current))) return current;
  if (openSession !== null && isOpen(openSession)) return openSession;
  const { brandId, instanceId, userId, channel } = visit;
  return {
    id: uuidv7(now),
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

/** Makes it the conversation's session, and remembers to tell Postgres that the one before it is over. */
export function enter(facts: FactStore, session: Session, now: number): void {
  const current = facts.get("session");
  if (current !== null && current.id !== session.id) facts.set("closed", { sessionId: current.id, expiredAt: now });
  facts.set("owner", { brandId: session.brandId, userId: session.userId });
  facts.set("session", session);
}
