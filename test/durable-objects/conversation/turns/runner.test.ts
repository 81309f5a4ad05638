import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { MAX_WAITING_TURNS } from "../../../../src/domain/turn.ts";
import { demoBundle } from "../../../support/bundle.ts";
import { incarnation, LEASE_MS, LIFETIME_MS, SESSION_TIMEOUT_MS, submission } from "../../../support/conversation.ts";
import type { BegunRun } from "../../../support/conversation.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";
import type { SubmitOutcome } from "../../../../src/domain/submission.ts";

let now = 0;
let runs: BegunRun[] = [];
let storage = sqliteStorage();
const wake = () => incarnation(storage, 0, () => now, runs);
let object = wake();

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  now = 1_800_000_000_000;
  runs = [];
  storage = sqliteStorage();
  object = wake();
});
afterEach(() => void vi.useRealTimers());

const flush = async () => {
  for (let tick = 0; tick < 20; tick += 1) await Promise.resolve();
};

const pass = async (ms: number) => {
  now += ms;
  await vi.advanceTimersByTimeAsync(ms);
};

const answerAll = async () => {
  for (let open = runs.find(({ over }) => !over); open; open = runs.find(({ over }) => !over)) {
    open.answer(`answer to ${open.turn.requestId}`);
    await flush();
  }
};

const kindOf = async (outcome: Promise<SubmitOutcome>) => (await outcome).kind;

describe("somebody who waits behind others", () => {
  it("a caller who waits 60 seconds is told that the message is accepted and finds the answer later", async () => {
    void object.submit(submission("first", "x"));
    const second = object.submit(submission("second", "x"));
    await pass(60_000);
    expect(await second).toMatchObject({ kind: "accepted" });
    expect(await kindOf(object.submit(submission("second", "x")))).toBe("in_progress");
    await answerAll();
    expect(await object.submit(submission("second", "x"))).toMatchObject({
      kind: "completed",
      answer: { text: "answer to second" },
    });
  });

  it("a caller keeps waiting when their run began within the 60 seconds", async () => {
    const first = object.submit(submission("first", "x"));
    await pass(61_000);
    await answerAll();
    expect(await kindOf(first)).toBe("answered");
  });

  it("the twenty-first waiting message is refused with a retry time, and a repeated one is not", async () => {
    const callers = Array.from({ length: 1 + MAX_WAITING_TURNS }, (_, index) =>
      object.submit(submission(`m${index}`, "x")),
    );
    expect(await object.submit(submission("late", "x"))).toMatchObject({ kind: "limited", scope: "conversation" });
    expect(await kindOf(object.submit(submission("m20", "x")))).toBe("in_progress");
    await answerAll();
    expect(new Set((await Promise.all(callers)).map(({ kind }) => kind))).toEqual(new Set(["answered"]));
    void object.submit(submission("late", "x"));
    await answerAll();
    expect(await kindOf(object.submit(submission("late", "x")))).toBe("completed");
  });
});

describe("somebody who says more than they may", () => {
  it("a user over the rate is told when to continue, and a repeated request costs nothing [G4.4.1]", async () => {
    object = incarnation(storage, 0, () => now, runs, { turnsPerMinute: 3 });
    for (const id of ["a", "b", "c"]) {
      void object.submit(submission(id, "x"));
      await answerAll();
      now += 10_000;
    }
    expect(await object.submit(submission("d", "x"))).toEqual({ kind: "limited", scope: "user", retryAfterMs: 30_000 });
    expect(await kindOf(object.submit(submission("c", "x")))).toBe("completed");
    now += 30_000;
    void object.submit(submission("d", "x"));
    await answerAll();
    expect(await kindOf(object.submit(submission("d", "x")))).toBe("completed");
    expect(await kindOf(object.submit(submission("e", "x")))).toBe("limited");
  });

  it("a user over the instance's rate is told when to continue, and a repeated request is not", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    const exhausted = { retryAfterMs: 700 };
    expect(await object.submit(submission("b", "x", { exhausted }))).toEqual({
      kind: "limited",
      scope: "instance",
      retryAfterMs: 700,
    });
    expect(await kindOf(object.submit(submission("a", "x", { exhausted })))).toBe("completed");
  });
});

describe("a run that takes too long", () => {
  it("a run past its lease is replaced by the next caller, and its late answer changes nothing [C6.4.4, C6.5.1, I1.1]", async () => {
    const first = object.submit(submission("a", "x"));
    await flush();
    now += LEASE_MS - 1;
    expect(await kindOf(object.submit(submission("a", "x")))).toBe("in_progress");
    now += 1;
    const next = object.submit(submission("a", "x"));
    const others = await Promise.all([1, 2, 3].map(() => object.submit(submission("a", "x"))));
    expect(others.map(({ kind }) => kind)).toEqual(["in_progress", "in_progress", "in_progress"]);

    const [stuck, current] = runs;
    expect([stuck?.signal.aborted, stuck?.turn.fence, current?.turn.fence]).toEqual([true, 1, 2]);
    stuck?.answer("too late");
    await flush();
    current?.answer("in time");
    const texts = (await Promise.all([first, next])).map(
      (outcome) => outcome.kind === "answered" && outcome.answer.text,
    );
    expect(texts).toEqual(["in time", "in time"]);
    expect(object.outbox.pull(1_000_000).entries.map(({ turn }) => turn?.fence)).toEqual([2]);
  });

  it("a run past its lease is replaced by the alarm, and the next message runs [C6.5.2, I1.2]", async () => {
    void object.submit(submission("a", "x"));
    const behind = object.submit(submission("b", "x"));
    now += LEASE_MS;
    object.runner.resume(now);
    expect(runs.map(({ turn }) => [turn.requestId, turn.fence])).toEqual([
      ["a", 1],
      ["a", 2],
    ]);
    await answerAll();
    expect(await kindOf(behind)).toBe("answered");
  });

  it("a run that throws is started again at the next alarm", async () => {
    const caller = object.submit(submission("a", "x"));
    runs[0]?.fail();
    await flush();
    expect(object.failures()).toHaveLength(1);
    object.runner.resume(now);
    await answerAll();
    expect(await caller).toMatchObject({ kind: "answered" });
  });
});

describe("an orphan", () => {
  it("an orphaned turn is taken over by exactly one caller, and the others see it in progress [I1.3, I1.4]", async () => {
    void object.submit(submission("a", "x"));
    await flush();
    object = wake();
    const callers = [1, 2, 3, 4].map(() => object.submit(submission("a", "x")));
    await answerAll();
    const kinds = (await Promise.all(callers)).map(({ kind }) => kind);
    expect(kinds).toEqual(["answered", "in_progress", "in_progress", "in_progress"]);
  });
});

describe("a request id", () => {
  it("a request id with another body is refused, also while the turn runs", async () => {
    void object.submit(submission("a", "x"));
    expect(await object.submit(submission("a", "y"))).toEqual({ kind: "mismatch" });
    await answerAll();
    expect(await object.submit(submission("a", "y"))).toEqual({ kind: "mismatch" });
  });

  it("a request id is a new turn in a new session [C3.7.1, I6.1]", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    now += SESSION_TIMEOUT_MS + 10;
    const again = object.submit(submission("a", "x"));
    await answerAll();
    expect(await kindOf(again)).toBe("answered");
    const sessions = object.outbox.pull(1_000_000).entries.map(({ session }) => session.id);
    expect(new Set(sessions).size).toBe(2);
  });

  it("a request id is forgotten at the end of its lifetime and not before [C6.7.1, I9.2]", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    now += LIFETIME_MS - 1;
    expect(object.turns.sweep(now)).toBe(now + 1);
    now += 1;
    expect(object.turns.sweep(now)).toBeNull();
    const [row] = storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM turns").toArray();
    expect(row?.n).toBe(0);
  });
});

describe("a conversation", () => {
  it("a conversation refuses another user and another brand and reveals nothing", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    const stranger = submission("a", "x", { user: { id: crypto.randomUUID(), tier: "standard" } });
    expect(await object.submit(stranger)).toMatchObject({ kind: "refused", code: "RESOURCE_NOT_FOUND", details: {} });
  });

  it("a conversation whose instance can't answer refuses at once, also when it had begun", async () => {
    const demo = demoBundle();
    const bundle = { ...demo, config: demo.config && { ...demo.config, routingPlanKey: "" } };
    object.state.set("bundle", bundle);
    const message = submission("a", "x", { bundle: object.state.read("bundle", JSON.stringify(bundle)) });
    expect(await object.submit(message)).toMatchObject({ kind: "refused", code: "VALIDATION_ERROR" });
    expect(object.turns.pendingCount()).toBe(0);
  });

  it("a conversation closes a session past its timeout and reports the time to Postgres", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    now += SESSION_TIMEOUT_MS + 10;
    void object.submit(submission("b", "x"));
    await answerAll();
    const [first, second] = object.outbox.pull(1_000_000).entries;
    expect(second?.closed).toEqual({ sessionId: first?.session.id, expiredAt: now });
  });
});
