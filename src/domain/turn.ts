/**
 * A turn is one message and its answer. This is its whole life as a pure machine; the object stores what it says.
 *
 *   (none) ──▶ queued ──▶ running ──▶ done ──▶ (none, when its lifetime is over)
 *
 * `orphaned` is no state of its own: a queued or running turn that nobody in this incarnation of the object holds is an
 * orphan, and so is a running one whose lease is over. Memory tells, so a restart orphans by itself and nothing has to
 * be written for it.
 */
export type TurnState = "queued" | "running" | "done" | "rejected";

export type Turn = {
  state: TurnState;
  /** Raised at every start. A settle with an older one changes nothing. */
  fence: number;
  fingerprint: string;
  /** Epoch milliseconds; null while queued. */
  leaseUntil: number | null;
  /** Epoch milliseconds; null until settled. */
  expiresAt: number | null;
};

/** A run that died this often is given up, and the person gets the default reply. */
export const MAX_RUNS = 5;

/** How many turns of one conversation may wait behind the running one. */
export const MAX_WAITING_TURNS = 20;

export type Admission = "new" | "mismatch" | "completed" | "in_progress" | "take_over";

/** What a caller with a request id gets to do. `hasWaiter`: somebody in this incarnation of the object waits for the turn. */
export function admission(turn: Turn | null, fingerprint: string, hasWaiter: boolean, now: number): Admission {
  if (turn === null || hasExpired(turn, now)) return "new";
  if (turn.fingerprint !== fingerprint) return "mismatch";
  if (isSettled(turn)) return "completed";
  return hasWaiter && !leaseIsOver(turn, now) ? "in_progress" : "take_over";
}

/** The turn with its run begun. */
export const start = <T extends Turn>(turn: T, leaseMs: number, now: number): T => ({
  ...turn,
  state: "running",
  fence: turn.fence + 1,
  leaseUntil: now + leaseMs,
});

/** The turn with its answer, or null when the run that offers it has been replaced or the turn is settled already. */
export const settle = <T extends Turn>(turn: T, fence: number, lifetimeMs: number, now: number): T | null =>
  turn.state === "running" && turn.fence === fence
    ? { ...turn, state: "done", leaseUntil: null, expiresAt: now + lifetimeMs }
    : null;

export const isSettled = (turn: Turn): boolean => turn.state === "done" || turn.state === "rejected";
export const hasExpired = (turn: Turn, now: number): boolean => turn.expiresAt !== null && turn.expiresAt <= now;
export const leaseIsOver = (turn: Turn, now: number): boolean => turn.leaseUntil !== null && turn.leaseUntil <= now;

/** True when the run that has begun is one too many. */
export const isGivenUp = (turn: Pick<Turn, "fence">): boolean => turn.fence > MAX_RUNS;
