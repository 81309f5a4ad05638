import { admit } from "../../durable-objects/conversation/turns/admit.ts";
import { StateStore } from "../../durable-objects/conversation/stores/state.ts";
import { Outbox } from "../../durable-objects/conversation/stores/outbox.ts";
import { TurnRunner } from "../../durable-objects/conversation/turns/runner.ts";
import { settleTurn } from "../../durable-objects/conversation/turns/settle.ts";
import { MIGRATIONS } from "../../durable-objects/conversation/stores/schema.ts";
import { TurnStore } from "../../durable-objects/conversation/stores/turns.ts";
import type { StoredTurn } from "../../durable-objects/conversation/stores/turns.ts";
import { migrate } from "../../durable-objects/runtime/migrate.ts";
import type { Storage } from "../../durable-objects/runtime/storage.ts";
import type { TurnResult } from "../../durable-objects/conversation/turns/answer.ts";
import { demoBundle } from "./bundle.ts";
import type { Answer, Submission, SubmitOutcome } from "../../src/domain/submission.ts";

export const LEASE_MS = 300_000;
export const LIFETIME_MS = 86_400_000;
export const SESSION_TIMEOUT_MS = 3_600_000;

/** A run that has begun and whose orchestrator has not answered: the test decides when, and whether. */
export type BegunRun = {
  turn: StoredTurn;
  incarnation: number;
  signal: AbortSignal;
  answer: (text: string) => void;
  fail: () => void;
  over: boolean;
};

export const submission = (requestId: string, body: string, changes: Partial<Submission> = {}): Submission => ({
  requestId,
  traceId: "trace",
  channel: "api",
  content: body,
  metadata: {},
  fingerprint: body,
  user: { id: "01a203c1-5b09-7963-9685-2aef74277b10", tier: "standard" },
  authState: "identified",
  bundle: demoBundle(),
  openSession: null,
  receivedAt: 0,
  ...changes,
});

const result = (text: string): TurnResult => ({
  text,
  fallback: false,
  tokenUsage: { prompt_in: 1, completion_out: 1, total: 2, cost_usd: null },
  usage: null,
  tokenPlan: { templates: {}, created_at: "2026-11-22T12:00:00.000Z" },
  metadata: {},
  orchestratorMs: 0,
});

/**
 * One incarnation of a conversation over a storage, without the platform: the parts are the real ones, only the
 * orchestrator's answers and the clock are in the test's hands.
 */
export function incarnation(storage: Storage, number: number, now: () => number, runs: BegunRun[], turnsPerMinute = 0) {
  migrate(storage, MIGRATIONS);
  const state = new StateStore(storage);
  const turns = new TurnStore(storage);
  const outbox = new Outbox(storage, state);
  const failures: unknown[] = [];

  const run = async (turn: StoredTurn, signal: AbortSignal): Promise<Answer | null> => {
    const reply = Promise.withResolvers<string>();
    const begun: BegunRun = {
      turn,
      incarnation: number,
      signal,
      over: false,
      answer: (text) => {
        begun.over = true;
        reply.resolve(text);
      },
      fail: () => {
        begun.over = true;
        reply.reject(new Error("the run broke"));
      },
    };
    runs.push(begun);
    const text = await reply.promise;
    if (turn.work === null) throw new Error("no work");
    const options = { address: "address", lifetimeMs: LIFETIME_MS, now: now() };
    return settleTurn({ storage, state, turns, outbox }, turn, turn.work, result(text), options);
  };

  const runner = new TurnRunner({
    turns,
    leaseMs: LEASE_MS,
    now,
    run,
    resolve: () => Promise.reject(new Error("nothing here comes through a webhook")),
    wake: () => undefined,
    background: (work) => void work,
    report: (error) => void failures.push(error),
  });

  return {
    state,
    turns,
    outbox,
    runner,
    failures,
    async submit(message: Submission): Promise<SubmitOutcome> {
      const entrance = admit({ storage, state, turns }, message, {
        address: "address",
        held: runner.hasWaiter,
        sessionTimeoutMs: SESSION_TIMEOUT_MS,
        turnsPerMinute,
        now: now(),
      });
      if (entrance.kind !== "enter") return entrance;
      const answer = await runner.wait(entrance.turnId, () => turns.isQueued(entrance.turnId));
      if (answer === "dropped") throw new Error("Nothing is erased here");
      return answer === "queued"
        ? { kind: "accepted", sessionId: entrance.sessionId, inboundMessageId: "" }
        : { kind: "answered", answer };
    },
  };
}

export type Incarnation = ReturnType<typeof incarnation>;
