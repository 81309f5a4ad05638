import type { Outbound } from "../../../src/rpc/conversation.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import { admission, settle, start } from "../../../src/domain/turn.ts";
import type { Admission, Turn, TurnState } from "../../../src/domain/turn.ts";
import type { User, AuthState } from "../../../src/domain/user.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { Answer } from "../../../src/domain/submission.ts";

/** What a run needs that the object does not know otherwise. Dropped once the turn is settled. */
export type Work = {
  traceId: string;
  channel: Channel;
  content: string;
  metadata: Record<string, unknown>;
  user: User;
  authState: AuthState;
  receivedAt: number;
  /** When the person's words count as said. */
  saidAt: number;
  /** Set for what a channel's webhook brought: nobody waits for the answer, so it is sent. */
  origin: Origin | null;
};

/** Where a message came from, and where its answer goes. */
export type Origin = Outbound & {
  /** The channel's own id of the message. */
  channelMessageId: string;
};

/** A message as a webhook brought it: before its turn can run, it has to be found out whose and to whom it is. */
export type Inbound = { message: InboundMessage; traceId: string; receivedAt: number };

/** A turn as it is kept: one row, one lock. */
export type StoredTurn = Turn & {
  position: number;
  scope: string;
  requestId: string;
  turnId: string;
  sessionId: string;
  admittedAt: number;
  /** Set until the turn is prepared. */
  inbound: Inbound | null;
  work: Work | null;
  answer: Answer | null;
};

export type NewTurn = Pick<StoredTurn, "scope" | "requestId" | "turnId" | "sessionId" | "fingerprint" | "admittedAt"> &
  ({ work: Work; inbound?: null } | { inbound: Inbound; work?: null });

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

/** The locks and the line of one conversation. Every method is one synchronous step: two callers can't both win. */
export class TurnStore {
  readonly #storage: Storage;
  /** Nothing before this position waits: the line is looked for from here on, and needs no index. */
  #firstPending = 0;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  find(scope: string, requestId: string): StoredTurn | null {
    return this.#one("SELECT * FROM turns WHERE scope = ? AND request_id = ?", scope, requestId);
  }

  /** What a caller with this id gets to do, and the turn it is about. `hasWaiter` is asked of a turn that exists. */
  admission(
    caller: { scope: string; requestId: string; fingerprint: string },
    hasWaiter: (turnId: string) => boolean,
    now: number,
  ): { kind: "new" } | { kind: Exclude<Admission, "new">; turn: StoredTurn } {
    const turn = this.find(caller.scope, caller.requestId);
    const kind = admission(turn, caller.fingerprint, turn !== null && hasWaiter(turn.turnId), now);
    return turn === null || kind === "new" ? { kind: "new" } : { kind, turn };
  }

  /** Puts a turn at the end of the line, in the place of one with the same id whose lifetime is over. */
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

  /** Gives a turn that was taken in as it came what it needs to run. */
  applyResolution(turn: StoredTurn, sessionId: string, work: Work): void {
    this.#storage.sql.exec(
      "UPDATE turns SET session_id = ?, work = ?, inbound = NULL WHERE position = ? AND state = 'queued'",
      sessionId,
      JSON.stringify(work),
      turn.position,
    );
  }

  /** Ends a turn that gets no answer. Its id is remembered for `lifetimeMs`. */
  close(turn: StoredTurn, state: "done" | "rejected", lifetimeMs: number, now: number): void {
    this.#storage.sql.exec(
      "UPDATE turns SET state = ?, expires_at = ?, inbound = NULL, work = NULL WHERE position = ?",
      state,
      now + lifetimeMs,
      turn.position,
    );
  }

  /** The turn whose run is on or next: the oldest that isn't settled. */
  next(): StoredTurn | null {
    const head = this.#one(
      "SELECT * FROM turns WHERE position >= ? AND state IN ('queued', 'running') ORDER BY position LIMIT 1",
      this.#firstPending,
    );
    this.#firstPending = head?.position ?? this.#firstPending;
    return head;
  }

  /** Begins a run: raises the fence and gives the lease. */
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

  /** Keeps the answer for `lifetimeMs`. False when the run that offers it has been replaced: then nothing changes. */
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

  /** How many turns wait or run. */
  pendingCount(): number {
    return this.#count("position >= ? AND state IN ('queued', 'running')", this.#firstPending);
  }

  /** Turns that wait in a session, oldest first. */
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

  /** When the `n`th newest turn was admitted, or null when there are fewer: what a rate limit of `n` has to look at. */
  admissionTime(n: number): number | null {
    const [row] = this.#storage.sql
      .exec<{ admitted_at: number }>("SELECT admitted_at FROM turns ORDER BY position DESC LIMIT 1 OFFSET ?", n - 1)
      .toArray();
    return row?.admitted_at ?? null;
  }

  /** Forgets locks whose lifetime is over, and tells when the next one is. */
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
