import { describe, expect, it } from "vitest";
import { MIGRATIONS } from "../../durable-objects/conversation/stores/schema.ts";
import { TurnStore } from "../../durable-objects/conversation/stores/turns.ts";
import type { NewTurn } from "../../durable-objects/conversation/stores/turn.ts";
import { migrate } from "../../durable-objects/runtime/migrate.ts";
import { parseConfig } from "../../src/config.ts";
import { cacheable, canonicalJson, fingerprint, idempotencyKey, sessionScope } from "../../src/domain/idempotency.ts";
import { newTurnId } from "../../src/domain/ids.ts";
import { admission, leaseIsOver, settle, start } from "../../src/domain/turn.ts";
import type { Turn } from "../../src/domain/turn.ts";
import { answerTo } from "../support/deps.ts";
import { sqliteStorage } from "../support/sqlite-storage.ts";
import type { Answer } from "../../src/domain/submission.ts";

const INSTANCE = "00000000-0000-4000-8000-000000000010";
const SESSION = "01900000-0000-7000-8000-000000000001";
const NOW = 1_000_000;

/** What the service is configured by when nobody says otherwise. */
const config = parseConfig({ DATABASE_URL: "postgresql://x", ADDRESS_KEY: "k".repeat(32) });
const LEASE_MS = config.lockExpirySeconds * 1_000;
const LIFETIME_MS = config.idempotencyTtlMinutes * 60_000;

const refusal = (field: string) =>
  expect.objectContaining({
    code: "VALIDATION_ERROR",
    status: 400,
    details: { fields: [expect.objectContaining({ field })] },
  });

describe("the key of a request", () => {
  const scope = sessionScope(INSTANCE, SESSION);

  it.each([
    ["without a request id", scope, undefined as unknown as string, "request_id", "C6.1.1"],
    ["without an instance", sessionScope("", SESSION), "r1", "instance_id", "C6.1.2"],
    ["with an empty request id", scope, "", "request_id", "C6.1.3"],
    ["with a blank request id", scope, " \n", "request_id", "C6.1.3"],
    ["with a request id of 129 characters", scope, "x".repeat(129), "request_id", "C6.1.4"],
  ])("an idempotency key is refused %s (scope %s, id %j: %s) [%s]", async (_, where, requestId, field) => {
    await expect(idempotencyKey(where, requestId)).rejects.toEqual(refusal(field));
  });

  it("an idempotency key consists of instance, session and request id [C6.1.5]", async () => {
    expect(await idempotencyKey(scope, "r1")).toBe(`${INSTANCE}:${SESSION}:r1`);
  });

  it("an idempotency key without a session leaves its place empty [C6.1.6]", async () => {
    expect(await idempotencyKey(sessionScope(INSTANCE, null), "r1")).toBe(`${INSTANCE}::r1`);
  });

  it("an idempotency key over 128 characters is a hash [C6.1.7]", async () => {
    const room = 128 - `${scope}:`.length;
    const [fits, hashed, other] = await Promise.all(
      ["x".repeat(room), "x".repeat(room + 1), "y".repeat(room + 1)].map((id) => idempotencyKey(scope, id)),
    );
    expect(fits).toBe(`${scope}:${"x".repeat(room)}`);
    expect(hashed).toMatch(/^[0-9a-f]{64}$/);
    expect(other).not.toBe(hashed);
  });

  it("an idempotency key differs between sessions [C3.7.1]", async () => {
    const sessions = ["01900000-0000-7000-8000-000000000002", SESSION];
    const keys = await Promise.all(sessions.map((session) => idempotencyKey(sessionScope(INSTANCE, session), "r1")));
    expect(new Set(keys).size).toBe(2);
  });
});

describe("the fingerprint of a body", () => {
  it("the fingerprint of a body ignores the order of keys and reflects every value", async () => {
    const body = { content: "Hi", metadata: { a: 1, b: [1, { c: null, d: "x" }] } };
    const same = { metadata: { b: [1, { d: "x", c: null }], a: 1 }, content: "Hi" };
    expect(await fingerprint(same)).toBe(await fingerprint(body));
    const others = [
      { ...body, content: "Hi " },
      { ...body, metadata: { ...body.metadata, a: "1" } },
      { ...body, metadata: { a: 1, b: [{ c: null, d: "x" }, 1] } },
      { ...body, extra: null },
    ];
    const prints = await Promise.all([body, ...others].map(fingerprint));
    expect(new Set(prints).size).toBe(5);
  });

  it("the fingerprint of a body ignores undefined values", () => {
    expect(canonicalJson({ b: undefined, a: [undefined, 1n === 1n] })).toBe('{"a":[null,true]}');
  });
});

describe("an answer that is kept for those who ask again", () => {
  it.each([["a text"], [["a list"]], [null], [undefined], [7]])(
    "a stored reply of %j is refused [C6.3.2]",
    (response) => {
      expect(() => cacheable(response)).toThrow(refusal("response"));
    },
  );

  it("a small stored reply without secrets is kept word for word", () => {
    const answer = answerTo({ requestId: "r1", content: "Hi", user: { id: SESSION, tier: "guest" } });
    expect(cacheable(answer)).toEqual(answer);
  });
});

const TURN: Turn = { state: "queued", fence: 0, fingerprint: "f", leaseUntil: null, expiresAt: null };

describe("somebody who comes with a request id", () => {
  const running = start(TURN, LEASE_MS, NOW);
  const done = settle(running, running.fence, LIFETIME_MS, NOW);
  if (done === null) throw new Error("nobody has replaced the run");

  it("a new request id runs [C6.2.5]", () => {
    expect(admission(null, "f", false, NOW)).toBe("new");
  });

  it("a completed request id is answered from memory and does not run [C6.2.3, C6.4.8]", () => {
    expect([admission(done, "f", false, NOW + LIFETIME_MS - 1), admission(done, "f", true, NOW)]).toEqual([
      "completed",
      "completed",
    ]);
  });

  it("an expired request id runs again after 24 hours [C6.2.4]", () => {
    expect(LIFETIME_MS).toBe(24 * 60 * 60_000);
    expect(admission(done, "f", false, NOW + LIFETIME_MS)).toBe("new");
  });

  it("a request id in progress gets a retry time [C6.4.3, C6.6.2]", () => {
    expect([admission(TURN, "f", true, NOW), admission(running, "f", true, NOW + LEASE_MS - 1)]).toEqual([
      "in_progress",
      "in_progress",
    ]);
  });

  it("a request id without a waiting caller is taken over at once, and a stuck one after 300 s [C6.4.4, C6.5.1]", () => {
    expect(LEASE_MS).toBe(300_000);
    expect([
      admission(TURN, "f", false, NOW),
      admission(running, "f", false, NOW + 1),
      admission(running, "f", true, NOW + LEASE_MS),
    ]).toEqual(["take_over", "take_over", "take_over"]);
    expect([leaseIsOver(running, NOW + LEASE_MS - 1), leaseIsOver(running, NOW + LEASE_MS)]).toEqual([false, true]);
  });

  it("a request id with another body gets nothing of the turn, completed or not", () => {
    expect([admission(done, "g", false, NOW), admission(running, "g", true, NOW)]).toEqual(["mismatch", "mismatch"]);
  });
});

describe("a run", () => {
  it("a run releases its turn at the end [C6.4.7]", () => {
    const running = start(TURN, LEASE_MS, NOW);
    expect(settle(running, running.fence, LIFETIME_MS, NOW + 5)).toEqual({
      ...running,
      state: "done",
      leaseUntil: null,
      expiresAt: NOW + 5 + LIFETIME_MS,
    });
  });

  it("a replaced run changes nothing and holds up no caller [C6.4.10]", () => {
    const stuck = start(TURN, LEASE_MS, NOW);
    const replacement = start(stuck, LEASE_MS, NOW + LEASE_MS);
    expect(replacement.fence).toBeGreaterThan(stuck.fence);
    expect(settle(replacement, stuck.fence, LIFETIME_MS, NOW)).toBeNull();
    expect(settle(replacement, replacement.fence, LIFETIME_MS, NOW)?.state).toBe("done");
  });

  it("a run can't settle a turn that is done or was never started", () => {
    const running = start(TURN, LEASE_MS, NOW);
    const done = settle(running, 1, LIFETIME_MS, NOW);
    expect([done && settle(done, 1, LIFETIME_MS, NOW), settle(TURN, 0, LIFETIME_MS, NOW)]).toEqual([null, null]);
  });
});

describe("what a conversation keeps of its turns", () => {
  const answer = (text: string): Answer => ({
    ...answerTo({ requestId: "r1", content: text, user: { id: SESSION, tier: "standard" } }),
    text,
  });
  const scope = sessionScope(INSTANCE, SESSION);

  function open() {
    const storage = sqliteStorage();
    migrate(storage, MIGRATIONS);
    return new TurnStore(storage);
  }

  /** Takes a turn in. */
  function enqueue(turns: TurnStore, requestId = "r1", at = NOW, where = scope): string {
    const turnId = newTurnId(at);
    const turn = { scope: where, requestId, turnId, sessionId: SESSION, fingerprint: "f", admittedAt: at };
    // What a run needs is not what this is about.
    turns.enqueue({ ...turn, work: {} } as unknown as NewTurn);
    return turnId;
  }

  /** Takes a turn in, and answers it. */
  function run(turns: TurnStore, requestId = "r1", at = NOW, where = scope): string {
    const turnId = enqueue(turns, requestId, at, where);
    const head = turns.next();
    if (head === null) throw new Error("there is a turn");
    turns.saveAnswer(turns.start(head, LEASE_MS, at), answer(requestId), LIFETIME_MS, at);
    return turnId;
  }
  const asks = (turns: TurnStore, requestId = "r1", now = NOW, held = false) =>
    turns.admission({ scope, requestId, fingerprint: "f" }, () => held, now);

  it("a settled turn keeps its reply word for word for its lifetime", () => {
    const turns = open();
    const turnId = run(turns);
    expect(asks(turns, "r1", NOW + LIFETIME_MS - 1)).toMatchObject({
      kind: "completed",
      turn: { turnId, answer: answer("r1"), work: null },
    });
  });

  it("a request id has one row: an expired turn is replaced [C6.4.11]", () => {
    const turns = open();
    run(turns);
    const second = enqueue(turns, "r1", NOW + LIFETIME_MS);
    expect(turns.find(scope, "r1")).toMatchObject({ turnId: second, state: "queued", answer: null, expiresAt: null });
    expect([asks(turns, "r1", NOW + LIFETIME_MS, true).kind, turns.pendingCount()]).toEqual(["in_progress", 1]);
  });

  it("a settled turn is unchanged when a replaced run returns a reply", () => {
    const turns = open();
    enqueue(turns);
    const head = turns.next();
    if (head === null) throw new Error("there is a turn");
    const stuck = turns.start(head, LEASE_MS, NOW);
    const replacement = turns.start(stuck, LEASE_MS, NOW + LEASE_MS);
    expect(turns.saveAnswer(stuck, answer("late"), LIFETIME_MS, NOW)).toBe(false);
    expect(turns.saveAnswer(replacement, answer("good"), LIFETIME_MS, NOW)).toBe(true);
    expect(turns.find(scope, "r1")?.answer).toEqual(answer("good"));
  });

  it("a settled turn is deleted 24 hours after its reply, to the millisecond, and waiting ones stay [C6.7.1, I9.2]", () => {
    const turns = open();
    run(turns, "old", NOW);
    run(turns, "young", NOW + 1);
    enqueue(turns, "waiting", NOW);
    expect(turns.sweep(NOW + LIFETIME_MS - 1)).toBe(NOW + LIFETIME_MS);
    expect(turns.find(scope, "old")).not.toBeNull();
    expect(turns.sweep(NOW + LIFETIME_MS)).toBe(NOW + 1 + LIFETIME_MS);
    expect([turns.find(scope, "old"), turns.find(scope, "young")?.state, turns.find(scope, "waiting")?.state]).toEqual([
      null,
      "done",
      "queued",
    ]);
    expect(turns.sweep(NOW + 10 * LIFETIME_MS)).toBeNull();
    expect(turns.pendingCount()).toBe(1);
  });

  it("one request id in two sessions is two turns [C3.7.1]", () => {
    const turns = open();
    run(turns);
    const other = sessionScope(INSTANCE, "01900000-0000-7000-8000-000000000002");
    expect(turns.admission({ scope: other, requestId: "r1", fingerprint: "f" }, () => false, NOW)).toEqual({
      kind: "new",
    });
    run(turns, "r1", NOW, other);
    expect(turns.find(scope, "r1")?.turnId).not.toBe(turns.find(other, "r1")?.turnId);
  });
});
