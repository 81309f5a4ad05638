import type { SessionRequest, Unknown, Unsaved } from "../../../src/rpc/conversation.ts";
import { newestFirst } from "../../../src/domain/history.ts";
import type { Cursor } from "../../../src/domain/page.ts";
import type { Session } from "../../../src/domain/session.ts";
import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import { isEnded, isErased } from "./current.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import type { Message } from "../../../src/domain/message.ts";
import { toRefused, sessionNotFound } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

/** The current session, or an earlier one with entries here; null otherwise. */
export function knownSession({ state, outbox }: Pick<Stores, "state" | "outbox">, sessionId: string): Session | null {
  const current = state.get("session");
  return current?.id === sessionId ? current : outbox.lastSession(sessionId);
}

/** Rows of a session that Postgres may not have yet: the newest `limit` messages before a cursor, and all usage. */
export function unsaved(
  stores: Pick<Stores, "state" | "outbox">,
  { sessionId, caller, before, limit }: SessionRequest & { before: Cursor | null; limit: number },
): ({ kind: "unsaved" } & Unsaved) | Unknown | Refused {
  const { state, outbox } = stores;
  if (isErased(state, sessionId)) return sessionNotFound(sessionId);
  const session = knownSession(stores, sessionId);
  if (session === null) return { kind: "unknown" };
  const refusal = toRefused(() => authorize(caller, "conversations:read", conversationOf(session)));
  if (refusal !== null) return refusal;

  const entries = outbox.pendingOfSession(sessionId);
  return {
    kind: "unsaved",
    session,
    endedAt: isEnded(state, session) ? (state.get("ended")?.expiredAt ?? null) : null,
    messages: entries
      .flatMap(({ messages }) => messages)
      .filter((message) => before === null || isOlder(message, before))
      .toSorted(newestFirst)
      .slice(0, limit),
    usage: entries.flatMap(({ usage }) => usage ?? []),
  };
}

const isOlder = ({ createdAt, seq }: Message, { at, tie }: Cursor): boolean =>
  createdAt < at || (createdAt === at && seq < tie);
