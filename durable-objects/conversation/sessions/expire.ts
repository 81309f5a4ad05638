import type { SessionCommand, Expired, Unknown } from "../../../src/rpc/conversation.ts";
import { uuidv7 } from "../../../src/domain/ids.ts";
import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import type { StateStore } from "../stores/state.ts";
import { isEnded, isErased } from "./current.ts";
import { knownSession } from "./unsaved.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import { toRefused, sessionNotFound } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

/** Ends a session; the next message starts a new one. Pending turns still get their answers. */
export function expire(
  stores: Pick<Stores, "storage" | "state" | "outbox">,
  { sessionId, caller, session: saved }: SessionCommand,
  { address, now }: { address: string; now: number },
): Expired | Unknown | Refused {
  const { storage, state, outbox } = stores;
  if (isErased(state, sessionId)) return sessionNotFound(sessionId);
  const session = knownSession(stores, sessionId) ?? saved;
  if (session === null) return { kind: "unknown" };
  const refusal = toRefused(() => authorize(caller, "conversations:write", conversationOf(session)));
  if (refusal !== null) return refusal;

  const ended = state.get("ended");
  if (ended !== null && isEnded(state, session)) return { kind: "expired", expiredAt: ended.expiredAt };
  const closed = { sessionId, expiredAt: Math.max(now, session.lastMessageAt) };
  storage.transactionSync(() => {
    const current = state.get("session");
    if (current === null || current.id === sessionId) state.set("ended", closed);
    outbox.add({ id: uuidv7(now), address, session, closed, turn: null, messages: [], usage: null });
  });
  return { kind: "expired", expiredAt: closed.expiredAt };
}

/** Isolates may cache the session as open for a minute; the end is remembered for longer. */
const REMEMBERED_MS = 10 * 60_000;

/** Until when the end of a session has to be remembered, or null. */
export function endIsRememberedUntil(state: StateStore, now: number): number | null {
  const until = (state.get("ended")?.expiredAt ?? 0) + REMEMBERED_MS;
  return until > now ? until : null;
}
