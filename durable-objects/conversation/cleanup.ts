import { isOver, sessionTimeoutMs } from "../../src/domain/session.ts";
import { pruneTombstones } from "./sessions/erase.ts";
import { endIsRememberedUntil } from "./sessions/expire.ts";
import type { Components, ConversationHost } from "./create.ts";
import { forgetRecorded } from "./sessions/record.ts";

/** A duty: forgets what is over, and the whole object once nothing of it matters any more. */
export function cleanUp(
  { storage, state, turns, outbox, correspondence }: Components,
  { deps, empty }: Pick<ConversationHost, "deps" | "empty">,
  now: number,
): number | null {
  outbox.prune();
  const nextExpiry = [
    turns.sweep(now),
    correspondence.deliveries.sweep(now),
    pruneTombstones(state, now),
    endIsRememberedUntil(state, now),
  ].reduce(earliest);
  if (outbox.pendingCount() === 0) forgetRecorded(storage, now);
  if (turns.pendingCount() > 0 || outbox.pendingCount() > 0) return nextExpiry;
  const session = state.get("session");
  const timeoutMs = sessionTimeoutMs(state.get("bundle")?.config ?? null, deps.config.sessionTimeoutMinutes);
  if (session !== null && !isOver(session, timeoutMs, now)) {
    return earliest(nextExpiry, session.lastMessageAt + timeoutMs + 1);
  }
  outbox.forgetHistory();
  // An address that passes on has nothing else to remember, and that for good.
  if (nextExpiry === null && state.get("forwardsTo") === null) empty();
  return nextExpiry;
}

const earliest = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b);
