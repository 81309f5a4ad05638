import { isOver } from "../../src/domain/session.ts";
import { sessionTimeoutMs } from "../../src/services/session.ts";
import { sweepTombstones } from "./sessions/erase.ts";
import { endIsRememberedUntil } from "./sessions/expire.ts";
import type { Parts, Surroundings } from "./create.ts";
import { forgetRecorded } from "./sessions/record.ts";

/** A duty: forgets what is over, and the whole object once nothing of it matters any more. */
export function sweep(
  { storage, facts, turns, outbox, correspondence }: Parts,
  { deps, empty }: Pick<Surroundings, "deps" | "empty">,
  now: number,
): number | null {
  outbox.tidy();
  const nextExpiry = [
    turns.sweep(now),
    correspondence.deliveries.sweep(now),
    sweepTombstones(facts, now),
    endIsRememberedUntil(facts, now),
  ].reduce(earliest);
  if (outbox.waiting() === 0) forgetRecorded(storage, now);
  if (turns.waiting() > 0 || outbox.waiting() > 0) return nextExpiry;
  const session = facts.get("session");
  const timeoutMs = sessionTimeoutMs(facts.get("bundle")?.config ?? null, deps.config);
  if (session !== null && !isOver(session, timeoutMs, now)) {
    return earliest(nextExpiry, session.lastMessageAt + timeoutMs + 1);
  }
  outbox.forgetHistory();
  // An address that passes on has nothing else to remember, and that for good.
  if (nextExpiry === null && facts.get("movedTo") === null) empty();
  return nextExpiry;
}

const earliest = (a: number | null, b: number | null): number | null =>
  a === null || b === null ? (a ?? b) : Math.min(a, b);
