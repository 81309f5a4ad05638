import { admission, settle, start } from "../../../src/domain/turn.ts";
import type { Admission, TurnState } from "../../../src/domain/turn.ts";
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

/** The turn queue and the locks of one conversation. Every method is synchronous, so two callers never both win a lock. */
export class TurnStore {
  readonly #storage: Storage;
  /** Lower bound of pending turns; makes the scan cheap without an index. */
  #firstPending = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Forgets what was read, after a transaction was rolled back. */
  reload(): void {
    this.#firstPending = 0;
  }

  find(scope: string, requestId: string): StoredTurn | null {
    return this.#one("SELECT * FROM turns WHERE scope = ? AND request_id = ?", scope, requestId);
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

  /** Appends a turn to the queue. Replaces an expired turn with the same request id. */
  enqueue(turn: NewTurn): void {
    this.#storage.sql.exec(
      `INSERT OR REPLACE INTO turns (scope, request_id, turn_id, session_id, state, fence, fingerprint, admitted_at, inbound, work)
       VALUES (?, ?, ?, ?, 'queued', 0, ?, ?, ?, ?)`,
      turn.scope,
      turn.requestId,
      turn.turnId,
      turn.sessionId,
      turn.fingerprint,
      turn.admittedAt,
      turn.inbound ? JSON.stringify(turn.inbound) : null,
      turn.work ? JSON.stringify(turn.work) : null,
    );
  }

  /** Makes a webhook message's turn runnable. */
  applyResolution(turn: StoredTurn, sessionId: string, work: Work): void {
    this.#storage.sql.exec(
      "UPDATE turns SET session_id = ?, work = ?, inbound = NULL WHERE position = ? AND state = 'queued'",
      sessionId,
      JSON.stringify(work),
      turn.position,
    );
  }

  /** Replaces the message of a pending turn: it was edited. */
  rewrite(turn: StoredTurn, change: { inbound: Inbound } | { work: Work }): void {
    const [column, value] = "inbound" in change ? ["inbound", change.inbound] : ["work", change.work];
    this.#storage.sql.exec(
      `UPDATE turns SET ${column} = ? WHERE position = ? AND state IN ('queued', 'running')`,
      JSON.stringify(value),
      turn.position,
    );
  }

  /** Ends a turn without an answer. Its request id stays taken for `lifetimeMs`. */
  close(turn: StoredTurn, state: "done" | "rejected", lifetimeMs: number, now: number): void {
    this.#storage.sql.exec(
      "UPDATE turns SET state = ?, expires_at = ?, inbound = NULL, work = NULL WHERE position = ?",
      state,
      now + lifetimeMs,
      turn.position,
    );
  }

  /** The oldest turn that is not settled: the one that runs or runs next. */
  next(): StoredTurn | null {
    const head = this.#one(
      "SELECT * FROM turns WHERE position >= ? AND state IN ('queued', 'running') ORDER BY position LIMIT 1",
      this.#firstPending,
    );
    this.#firstPending = head?.position ?? this.#firstPending;
    return head;
  }

  /** Starts a run: raises the fence and extends the lease. */
  start(turn: StoredTurn, leaseMs: number, now: number): StoredTurn {
    const started = start(turn, leaseMs, now);
    this.#storage.sql.exec(
      "UPDATE turns SET state = ?, fence = ?, lease_until = ? WHERE position = ?",
      started.state,
      started.fence,
      started.leaseUntil,
      turn.position,
    );
    return started;
  }

  /** Stores the answer for `lifetimeMs`. Returns false, and changes nothing, when the run has been replaced. */
  saveAnswer(turn: StoredTurn, answer: Answer, lifetimeMs: number, now: number): boolean {
    const [current] = this.#storage.sql
      .exec<{ state: TurnState; fence: number }>("SELECT state, fence FROM turns WHERE position = ?", turn.position)
      .toArray();
    const settled = current && settle({ ...turn, ...current }, turn.fence, lifetimeMs, now);
    if (!settled) return false;
    this.#storage.sql.exec(
      "UPDATE turns SET state = ?, lease_until = NULL, expires_at = ?, work = NULL, answer = ? WHERE position = ?",
      settled.state,
      settled.expiresAt,
      JSON.stringify(answer),
      turn.position,
    );
    return true;
  }

  isQueued(turnId: string): boolean {
    return this.#count("turn_id = ? AND state = 'queued'", turnId) > 0;
  }

  /** Counts queued and running turns. */
  pendingCount(): number {
    return this.#count("position >= ? AND state IN ('queued', 'running')", this.#firstPending);
  }

  /** Queued and running turns of a session, oldest first. */
  pendingInSession(sessionId: string): StoredTurn[] {
    return this.#storage.sql
      .exec<Row>(
        `SELECT * FROM turns WHERE position >= ? AND state IN ('queued', 'running') AND session_id = ? ORDER BY position`,
        this.#firstPending,
        sessionId,
      )
      .toArray()
      .map(toTurn);
  }

  /** Admission time of the `n`th newest turn, or null when there are fewer. A limit of `n` per window compares it. */
  admissionTime(n: number): number | null {
    const [row] = this.#storage.sql
      .exec<{ admitted_at: number }>("SELECT admitted_at FROM turns ORDER BY position DESC LIMIT 1 OFFSET ?", n - 1)
      .toArray();
    return row?.admitted_at ?? null;
  }

  /** Deletes expired turns and returns when the next one expires. */
  sweep(now: number): number | null {
    this.#storage.sql.exec("DELETE FROM turns WHERE expires_at <= ?", now);
    const [row] = this.#storage.sql.exec<{ at: number | null }>("SELECT min(expires_at) AS at FROM turns").toArray();
    return row?.at ?? null;
  }

  #count(condition: string, binding: string | number): number {
    const [row] = this.#storage.sql
      .exec<{ n: number }>(`SELECT count(*) AS n FROM turns WHERE ${condition}`, binding)
      .toArray();
    return row?.n ?? 0;
  }

  #one(query: string, ...bindings: (string | number)[]): StoredTurn | null {
    const [row] = this.#storage.sql.exec<Row>(query, ...bindings).toArray();
    return row ? toTurn(row) : null;
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
