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
  it("is told after 60 seconds that their message is accepted, and finds the answer when they ask again", async () => {
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

  it("waits on when their own run has begun before the 60 seconds are over", async () => {
    const first = object.submit(submission("first", "x"));
    await pass(61_000);
    await answerAll();
    expect(await kindOf(first)).toBe("answered");
  });

  it("is the last of twenty; whoever comes after is asked to come back, and who asks again is not", async () => {
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
  it("is told when to go on; what was said a minute ago no longer counts, and asking again never does [G4.4.1]", async () => {
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

  it("is told by the instance's rate too, unless they only ask again", async () => {
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
  it("is replaced once its lease is over, by the first who asks; its own answer then changes nothing [C6.4.4, C6.5.1, I1.1]", async () => {
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

  it("is replaced by the alarm when nobody asks, and what waits behind it goes on [C6.5.2, I1.2]", async () => {
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

  it("that breaks is begun again at the next look", async () => {
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
  it("is taken over by exactly one of those who come at once; the others are told that it runs [I1.3, I1.4]", async () => {
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
  it("comes with the body it came with, or is refused, also while it runs", async () => {
    void object.submit(submission("a", "x"));
    expect(await object.submit(submission("a", "y"))).toEqual({ kind: "mismatch" });
    await answerAll();
    expect(await object.submit(submission("a", "y"))).toEqual({ kind: "mismatch" });
  });

  it("is a new turn in a new session [C3.7.1, I6.1]", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    now += SESSION_TIMEOUT_MS + 10;
    const again = object.submit(submission("a", "x"));
    await answerAll();
    expect(await kindOf(again)).toBe("answered");
    const sessions = object.outbox.pull(1_000_000).entries.map(({ session }) => session.id);
    expect(new Set(sessions).size).toBe(2);
  });

  it("is forgotten when its lifetime is over, not before [C6.7.1, I9.2]", async () => {
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
  it("lets nobody in who is somebody else, or of another brand, and tells them nothing", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    const stranger = submission("a", "x", { user: { id: crypto.randomUUID(), tier: "standard" } });
    expect(await object.submit(stranger)).toMatchObject({ kind: "refused", code: "RESOURCE_NOT_FOUND", details: {} });
  });

  it("says at once that it can't answer, also when it has begun and knows its instance already", async () => {
    const demo = demoBundle();
    const bundle = { ...demo, config: demo.config && { ...demo.config, routingPlanKey: "" } };
    object.state.set("bundle", bundle);
    const message = submission("a", "x", { bundle: object.state.read("bundle", JSON.stringify(bundle)) });
    expect(await object.submit(message)).toMatchObject({ kind: "refused", code: "VALIDATION_ERROR" });
    expect(object.turns.pendingCount()).toBe(0);
  });

  it("closes the session that was quiet too long and tells Postgres when", async () => {
    void object.submit(submission("a", "x"));
    await answerAll();
    now += SESSION_TIMEOUT_MS + 10;
    void object.submit(submission("b", "x"));
    await answerAll();
    const [first, second] = object.outbox.pull(1_000_000).entries;
    expect(second?.closed).toEqual({ sessionId: first?.session.id, expiredAt: now });
  });
});
