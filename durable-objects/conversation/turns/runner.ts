import { backoff } from "../../../src/domain/backoff.ts";
import { withTimeout } from "../../../src/domain/deadline.ts";
import { leaseIsOver } from "../../../src/domain/turn.ts";
import type { Inbound, StoredTurn } from "../stores/turn.ts";
import type { TurnStore } from "../stores/turns.ts";
import type { Settled } from "./run.ts";

/** A caller behind other turns gets "accepted" after this time; the turn still runs. */
export const QUEUED_CALLER_WAIT_MS = 60_000;
/** Watchdog interval for orphaned turns. */
const WATCH_MS = 10_000;
/** Pauses between failed attempts to resolve a webhook message. */
const RESOLVE_RETRY = { baseMs: 1_000, maxMs: 30_000 };

type Run = { turnId: string; fence: number; abort: AbortController };

type Options = {
  turns: TurnStore;
  leaseMs: number;
  now: () => number;
  /** Resolves a webhook message. Returns false when Postgres is unavailable: it is called again. */
  resolve: (turn: StoredTurn & { inbound: Inbound }, attempt: number) => Promise<boolean>;
  /** Sets the alarm to a time, or leaves an earlier one. */
  wake: (at: number) => void;
  /** Runs the turn and settles it. Null when another run has replaced it. After it threw, the turn is run again. */
  run: (turn: StoredTurn, signal: AbortSignal) => Promise<Settled | null>;
  /** Keeps the object awake for work that no caller waits for. */
  background: (work: Promise<void>) => void;
  report: (error: unknown, turnId: string) => void;
};

/**
 * Runs a conversation's turns, one at a time, in the order of their admission. Runs and waiters exist in memory only, so a
 * turn without them in a new incarnation is an orphan.
 */
export class TurnRunner {
  readonly #options: Options;
  readonly #waiters = new Map<string, PromiseWithResolvers<Settled | "cancelled">>();
  #run: Run | null = null;
  /** The resolution of the first pending turn. */
  #resolution = { busy: false, attempts: 0, notBefore: 0 };

  constructor(options: Options) {
    this.#options = options;
  }

  /** True when a caller of this incarnation waits for the turn's answer. */
  readonly hasWaiter = (turnId: string): boolean => this.#waiters.has(turnId);

  /** Starts the next turn unless one is running or has to be resolved first. A run past its lease is aborted and replaced. */
  runNext(): void {
    const { turns, leaseMs, now, background } = this.#options;
    const head = turns.next();
    if (head === null) return;
    if (head.inbound !== null) return this.#resolve({ ...head, inbound: head.inbound });
    if (this.#run?.turnId === head.turnId && !leaseIsOver(head, now())) return;
    // Counted before it runs: a run that kills the object or throws is one of the few it gets.
    const turn = turns.start(head, leaseMs, now());
    this.#run?.abort.abort(new Error("The lease of this run is over"));
    const abort = new AbortController();
    this.#run = { turnId: turn.turnId, fence: turn.fence, abort };
    background(this.#finish(turn, abort.signal));
  }

  /** Waits for the turn's answer, or for 60 seconds while it is queued behind others. */
  async wait(turnId: string, queued: () => boolean): Promise<Settled | "queued" | "cancelled"> {
    const waiter = this.#waiters.get(turnId) ?? Promise.withResolvers<Settled | "cancelled">();
    this.#waiters.set(turnId, waiter);
    // A caller that was told "accepted" no longer listens.
    waiter.promise.catch(() => undefined);
    this.runNext();
    // The caller of a running turn waits for as long as it runs.
    if (this.#run?.turnId === turnId) return waiter.promise;
    const first = await withTimeout(waiter.promise, QUEUED_CALLER_WAIT_MS, () => "queued" as const);
    return first === "queued" && !queued() ? waiter.promise : first;
  }

  /**
   * Rejects the waiters of these turns and aborts the run of one. A turn that is still pending, because its message
   * was edited, runs again.
   */
  cancel(turnIds: readonly string[]): void {
    for (const turnId of turnIds) {
      this.#waiters.get(turnId)?.resolve("cancelled");
      this.#waiters.delete(turnId);
    }
    if (this.#run !== null && turnIds.includes(this.#run.turnId)) {
      this.#run.abort.abort(new Error("The turn was cancelled"));
      this.#run = null;
    }
    this.runNext();
  }

  /** Rejects the waiter of a turn that ended without an answer. */
  fail(turnId: string, error: unknown): void {
    this.#options.report(error, turnId);
    this.#waiters.get(turnId)?.reject(error);
    this.cancel([turnId]);
  }

  /** Alarm task: runs turns left over from another incarnation and replaces stuck runs. */
  readonly resume = (now: number): number | null => {
    this.runNext();
    if (this.#options.turns.next() === null) return null;
    return this.#resolution.notBefore > now ? this.#resolution.notBefore : now + WATCH_MS;
  };

  /** An unresolved turn keeps its place at the head of the queue. */
  #resolve(turn: StoredTurn & { inbound: Inbound }): void {
    const { now, background } = this.#options;
    if (this.#resolution.busy || now() < this.#resolution.notBefore) return;
    this.#resolution.busy = true;
    background(this.#tryToResolve(turn));
  }

  async #tryToResolve(turn: StoredTurn & { inbound: Inbound }): Promise<void> {
    const { resolve, report, now, wake } = this.#options;
    const attempt = this.#resolution.attempts + 1;
    const resolved = await resolve(turn, attempt).catch((error: unknown) => report(error, turn.turnId) ?? false);
    const pause = backoff(attempt - 1, RESOLVE_RETRY, 0);
    this.#resolution = resolved
      ? { busy: false, attempts: 0, notBefore: 0 }
      : { busy: false, attempts: attempt, notBefore: now() + pause };
    if (resolved) this.runNext();
    else wake(this.#resolution.notBefore);
  }

  async #finish(turn: StoredTurn, signal: AbortSignal): Promise<void> {
    const { run, report } = this.#options;
    const settled = await run(turn, signal).catch((error: unknown) => report(error, turn.turnId));
    if (settled) {
      this.#waiters.get(turn.turnId)?.resolve(settled);
      this.#waiters.delete(turn.turnId);
    }
    if (this.#run?.turnId !== turn.turnId || this.#run.fence !== turn.fence) return;
    this.#run = null;
    // After a failure the turn stays `running`: the watchdog runs it again until it is given up.
    if (settled) this.runNext();
  }
}
