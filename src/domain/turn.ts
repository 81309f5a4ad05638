/**
 * State machine of a turn, which is one message and its answer. The object stores the state.
 *
 *   (none) ──▶ queued ──▶ running ──▶ done ──▶ (none, when it expires)
 *
 * `orphaned` is not stored: a queued or running turn without a waiter in this incarnation of the object is an orphan, and
 * so is a running turn after its lease. A restart therefore orphans turns without a write.
 */
export type TurnState = "queued" | "running" | "done" | "rejected";

export type Turn = {
  state: TurnState;
  /** Incremented at every start. A settle with an older fence has no effect. */
  fence: number;
  fingerprint: string;
  /** Epoch milliseconds; null while queued. */
  leaseUntil: number | null;
  /** Epoch milliseconds; null until settled. */
  expiresAt: number | null;
};

/** A turn ends with the default reply after this many interrupted runs. */
export const MAX_RUNS = 5;

/** Limit of turns of one conversation queued behind the running one. */
export const MAX_WAITING_TURNS = 20;

export type Admission = "new" | "mismatch" | "completed" | "in_progress" | "take_over";

/** Decides a request with a known or new id. `hasWaiter`: a caller in this incarnation of the object awaits the turn. */
export function admission(turn: Turn | null, fingerprint: string, hasWaiter: boolean, now: number): Admission {
  if (turn === null || hasExpired(turn, now)) return "new";
  if (turn.fingerprint !== fingerprint) return "mismatch";
  if (isSettled(turn)) return "completed";
  return hasWaiter && !leaseIsOver(turn, now) ? "in_progress" : "take_over";
}

/** The turn with a new run started. */
export const start = <T extends Turn>(turn: T, leaseMs: number, now: number): T => ({
  ...turn,
  state: "running",
  fence: turn.fence + 1,
  leaseUntil: now + leaseMs,
});

/** The settled turn; null when this run was superseded or the turn is already settled. */
export const settle = <T extends Turn>(turn: T, fence: number, lifetimeMs: number, now: number): T | null =>
  turn.state === "running" && turn.fence === fence
    ? { ...turn, state: "done", leaseUntil: null, expiresAt: now + lifetimeMs }
    : null;

export const isSettled = (turn: Turn): boolean => turn.state === "done" || turn.state === "rejected";
export const hasExpired = (turn: Turn, now: number): boolean => turn.expiresAt !== null && turn.expiresAt <= now;
export const leaseIsOver = (turn: Turn, now: number): boolean => turn.leaseUntil !== null && turn.leaseUntil <= now;

/** Whether the current run exceeds the limit of runs. */
export const isGivenUp = (turn: Pick<Turn, "fence">): boolean => turn.fence > MAX_RUNS;
