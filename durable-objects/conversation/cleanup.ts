import { isOver, sessionTimeoutMs } from "../../src/domain/session.ts";
import { pruneTombstones } from "./sessions/erase.ts";
import { endIsRememberedUntil } from "./sessions/expire.ts";
import type { ObjectDeps } from "../../src/deps.ts";
import type { Stores } from "./stores.ts";
import { forgetRecorded } from "./sessions/record.ts";

/** An address with one of these is kept for ever: it forwards, or knows which numbers lead to it. */
const LEADS_ELSEWHERE = ["forwardsTo", "reassignedTo", "numbers"] as const;

type Options = {
  deps: Pick<ObjectDeps, "config">;
  /** Deletes everything the object stores. */
  empty: () => void;
};

/** Expired rows are deleted together, so that messages of one conversation don't cost an alarm each a day later. */
const ROUND_MS = 5 * 60_000;

/** Alarm task: deletes rows past their expiry, and the whole object when none is left and no session is open. */
export function cleanUp(
  { storage, state, turns, outbox, deliveries, amendments }: Stores,
  { deps, empty }: Options,
  now: number,
): number | null {
  outbox.prune();
  const nextExpiry = [
    turns.sweep(now),
    deliveries.sweep(now),
    amendments.sweep(now),
    pruneTombstones(state, now),
    endIsRememberedUntil(state, now),
  ].reduce(earliest);
  if (outbox.pendingCount() === 0) forgetRecorded(storage, now);
  if (turns.pendingCount() > 0 || outbox.pendingCount() > 0) return roundUp(nextExpiry);
  const session = state.get("session");
  const timeoutMs = sessionTimeoutMs(state.get("bundle")?.config ?? null, deps.config.sessionTimeoutMinutes);
  if (session !== null && !isOver(session, timeoutMs, now)) {
    return roundUp(earliest(nextExpiry, session.lastMessageAt + timeoutMs + 1));
  }
  outbox.forgetHistory();
  if (nextExpiry === null && !LEADS_ELSEWHERE.some((name) => state.get(name) !== null)) empty();
  return roundUp(nextExpiry);
}

const earliest = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b);

const roundUp = (at: number | null): number | null => at && Math.ceil(at / ROUND_MS) * ROUND_MS;
