import { admission, settle, start } from "../../../src/domain/turn.ts";
import type { Admission, Turn, TurnState } from "../../../src/domain/turn.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import type { Inbound, NewTurn, StoredTurn, Work } from "./turn.ts";

type Row = {
  position: number;
  scope: string;
  request_id: string;
  turn_id: string;
  session_id: string;
  state: TurnState;
  fence: number;
  fingerprint: string;
  admitted_at: number;
  lease_until: number | null;
  expires_at: number | null;
  inbound: string | null;
  work: string | null;
  answer: string | null;
};

/**
 * The turn queue and the locks of one conversation. Every method is synchronous, so two callers never both win a lock. The
 * object is the only writer: pending turns are read once and kept in memory, settled ones stay on disk.
 */
export class TurnStore {
  readonly #storage: Storage;
  /** Queued and running turns in the order of their admission; null until they are read. */
  #queue: StoredTurn[] | null = null;
  /** Admission times, newest last, as far back as the rate limit looks; null until they are read. */
  #admissions: number[] | null = null;
  /** The turn that was admitted as running and that `start` has not returned yet. */
  #begun: string | null = null;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Forgets what was read: a transaction was rolled back, or rows were changed from outside. */
  reload(): void {
    this.#queue = null;
    this.#admissions = null;
    this.#begun = null;
  }

  find(scope: string, requestId: string): StoredTurn | null {
    const [row] = this.#storage.sql
      .exec<Row>("SELECT * FROM turns WHERE scope = ? AND request_id = ?", scope, requestId)
      .toArray();
    return row ? toTurn(row) : null;
  }

  /** Decides about a request id, see `domain/turn.ts`; with the turn that has it. `hasWaiter` is called with that turn's id. */
  admission(
    caller: { scope: string; requestId: string; fingerprint: string },
    hasWaiter: (turnId: string) => boolean,
    now: number,
  ): { kind: "new" } | { kind: Exclude<Admission, "new">; turn: StoredTurn } {
    const turn = this.find(caller.scope, caller.requestId);
    const kind = admission(turn, caller.fingerprint, turn !== null && hasWaiter(turn.turnId), now);
    return turn === null || kind === "new" ? { kind: "new" } : { kind, turn };
  }

  /**
   * Appends a turn to the queue. Replaces an expired turn with the same request id. With `leaseMs`, a turn that finds the
   * queue empty begins its first run in the same write.
   */
  enqueue(turn: NewTurn, leaseMs: number | null = null): void {
    const queue = this.#pending();
    const { scope, requestId, turnId, sessionId, fingerprint, admittedAt, inbound = null, work = null } = turn;
    const queued: Turn = { state: "queued", fence: 0, fingerprint, leaseUntil: null, expiresAt: null };
    const begins = leaseMs !== null && queue.length === 0;
    const lock = begins ? start(queued, leaseMs, admittedAt) : queued;
    const [row] = this.#storage.sql
      .exec<{ position: number }>(
        `INSERT OR REPLACE INTO turns (scope, request_id, turn_id, session_id, state, fence, fingerprint, admitted_at,
           lease_until, inbound, work)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING position`,
        scope,
        requestId,
        turnId,
        sessionId,
        lock.state,
        lock.fence,
        fingerprint,
        admittedAt,
        lock.leaseUntil,
        inbound && JSON.stringify(inbound),
        work && JSON.stringify(work),
      )
      .toArray();
    if (row === undefined) throw new Error("An insert returned no row");
    const place = { position: row.position, scope, requestId, turnId, sessionId, admittedAt };
    queue.push({ ...lock, ...place, inbound, work, answer: null });
    this.#admissions?.push(admittedAt);
    if (begins) this.#begun = turnId;
  }

  /** Makes a webhook message's turn runnable. */
  applyResolution(turn: StoredTurn, sessionId: string, work: Work): void {
    this.#storage.sql.exec(
      "UPDATE turns SET session_id = ?, work = ?, inbound = NULL WHERE position = ? AND state = 'queued'",
      sessionId,
      JSON.stringify(work),
      turn.position,
    );
    this.#change(turn, { sessionId, work, inbound: null });
  }

  /** Replaces the message of a pending turn: it was edited. */
  rewrite(turn: StoredTurn, change: { inbound: Inbound } | { work: Work }): void {
    const [column, value] = "inbound" in change ? ["inbound", change.inbound] : ["work", change.work];
    this.#storage.sql.exec(
      `UPDATE turns SET ${column} = ? WHERE position = ? AND state IN ('queued', 'running')`,
      JSON.stringify(value),
      turn.position,
    );
    this.#change(turn, change);
  }

  /** Ends a turn without an answer. Its request id stays taken for `lifetimeMs`. */
  close(turn: StoredTurn, state: "done" | "rejected", lifetimeMs: number, now: number): void {
    this.#storage.sql.exec(
      "UPDATE turns SET state = ?, expires_at = ?, inbound = NULL, work = NULL WHERE position = ?",
      state,
      now + lifetimeMs,
      turn.position,
    );
    this.#remove(turn);
  }

  /** The oldest turn that is not settled: the one that runs or runs next. */
  next(): StoredTurn | null {
    return this.#pending()[0] ?? null;
  }

  /** Starts a run: raises the fence and extends the lease. */
  start(turn: StoredTurn, leaseMs: number, now: number): StoredTurn {
    const isBegun = this.#begun === turn.turnId;
    this.#begun = null;
    if (isBegun) return turn;
    const started = start(turn, leaseMs, now);
    this.#storage.sql.exec(
      "UPDATE turns SET state = ?, fence = ?, lease_until = ? WHERE position = ?",
      started.state,
      started.fence,
      started.leaseUntil,
      turn.position,
    );
    this.#change(turn, started);
    return started;
  }

  /** Stores the answer for `lifetimeMs`. Returns false, and changes nothing, when the run has been replaced. */
  saveAnswer(turn: StoredTurn, answer: Answer, lifetimeMs: number, now: number): boolean {
    const settled = settle(turn, turn.fence, lifetimeMs, now);
    if (settled === null) return false;
    const changed = this.#storage.sql
      .exec<{ position: number }>(
        `UPDATE turns SET state = ?, lease_until = NULL, expires_at = ?, work = NULL, answer = ?
         WHERE state = 'running' AND fence = ? AND position = ? RETURNING position`,
        settled.state,
        settled.expiresAt,
        JSON.stringify(answer),
        turn.fence,
        turn.position,
      )
      .toArray();
    if (changed.length > 0) this.#remove(turn);
    return changed.length > 0;
  }

  isQueued(turnId: string): boolean {
    return this.#pending().some((turn) => turn.turnId === turnId && turn.state === "queued");
  }

  /** Counts queued and running turns. */
  pendingCount(): number {
    return this.#pending().length;
  }

  /** Queued and running turns of a session, oldest first. */
  pendingInSession(sessionId: string): StoredTurn[] {
    return this.#pending().filter((turn) => turn.sessionId === sessionId);
  }

  /** Admission time of the `n`th newest turn, or null when there are fewer. A limit of `n` per window compares it. */
  admissionTime(n: number): number | null {
    this.#admissions ??= this.#storage.sql
      .exec<{ admitted_at: number }>("SELECT admitted_at FROM turns ORDER BY position DESC LIMIT ?", n)
      .toArray()
      .map(({ admitted_at }) => admitted_at)
      .toReversed();
    if (this.#admissions.length > 2 * n) this.#admissions = this.#admissions.slice(-n);
    return this.#admissions.at(-n) ?? null;
  }

  /** Deletes expired turns and returns when the next one expires. */
  sweep(now: number): number | null {
    this.#storage.sql.exec("DELETE FROM turns WHERE expires_at <= ?", now);
    const [row] = this.#storage.sql.exec<{ at: number | null }>("SELECT min(expires_at) AS at FROM turns").toArray();
    return row?.at ?? null;
  }

  #pending(): StoredTurn[] {
    this.#queue ??= this.#storage.sql
      .exec<Row>("SELECT * FROM turns WHERE state IN ('queued', 'running') ORDER BY position")
      .toArray()
      .map(toTurn);
    return this.#queue;
  }

  #change({ position }: StoredTurn, changes: Partial<StoredTurn>): void {
    this.#queue = this.#pending().map((turn) => (turn.position === position ? { ...turn, ...changes } : turn));
  }

  #remove({ position }: StoredTurn): void {
    this.#queue = this.#pending().filter((turn) => turn.position !== position);
  }
}

const toTurn = (row: Row): StoredTurn => ({
  position: row.position,
  scope: row.scope,
  requestId: row.request_id,
  turnId: row.turn_id,
  sessionId: row.session_id,
  state: row.state,
  fence: row.fence,
  fingerprint: row.fingerprint,
  admittedAt: row.admitted_at,
  leaseUntil: row.lease_until,
  expiresAt: row.expires_at,
  inbound: row.inbound === null ? null : (JSON.parse(row.inbound) as Inbound),
  work: row.work === null ? null : (JSON.parse(row.work) as Work),
  answer: row.answer === null ? null : (JSON.parse(row.answer) as Answer),
});
