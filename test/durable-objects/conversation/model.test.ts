import fc from "fast-check";
import { isGivenUp, MAX_RUNS } from "../../../src/domain/turn.ts";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { placeEntry } from "../../../src/domain/ledger.ts";
import type { LedgerEntry, StoredEntry, WrittenEntries } from "../../../src/domain/ledger.ts";
import type { Storage } from "../../../durable-objects/runtime/storage.ts";
import { incarnation, LEASE_MS, submission } from "../../support/conversation.ts";
import type { BegunRun, Incarnation } from "../../support/conversation.ts";
import { sqliteStorage } from "../../support/sqlite-storage.ts";
import type { SubmitOutcome } from "../../../src/domain/submission.ts";

type Step =
  | { do: "call"; id: string; body: string }
  | { do: "crowd"; id: string; callers: number }
  | { do: "answer"; which: number }
  | { do: "fail"; which: number }
  | { do: "evict" }
  | { do: "alarm" }
  | { do: "pull" }
  | { do: "confirm" }
  | { do: "deliver"; which: number; again: boolean }
  | { do: "lose"; which: number }
  | { do: "look up" }
  | { do: "clock"; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("call"),
      id: fc.constantFrom("a", "b", "c", "d"),
      body: fc.constantFrom("x", "x", "x", "y"),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("crowd"),
      id: fc.constantFrom("a", "b"),
      callers: fc.integer({ min: 2, max: 8 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("answer"), which: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fail"), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("evict") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("alarm") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("pull") }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("confirm") }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("deliver"), which: fc.nat(5), again: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose"), which: fc.nat(5) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("look up") }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant("clock"),
      ms: fc.constantFrom(1, 1_000, 61_000, LEASE_MS + 1, 90_000_000, -5_000, -LEASE_MS),
    }),
  },
);

/** What a person with this request id was told, whenever they asked. `lifetime` separates what came after 24 hours. */
type Told = { key: string; text: string; messageId: string };

/** A conversation, everybody who talks to it, and somebody who writes down all of it. */
class World {
  readonly storage = sqliteStorage();
  readonly runs: BegunRun[] = [];
  readonly told: Told[] = [];
  readonly entries = new Map<string, LedgerEntry>();
  /** Entries in Postgres whose conversation has not been told; only these may be confirmed. */
  written: WrittenEntries[] = [];
  /** Entries that left with their answers and are on their way to Postgres. */
  carried: StoredEntry[] = [];
  /** Callers of the incarnation that lives who have been told nothing yet. */
  waiting = 0;
  clock = 1_800_000_000_000;
  /** The latest the clock has ever been. */
  latest = this.clock;
  number = 0;
  object: Incarnation = this.wake();

  wake(): Incarnation {
    return incarnation(this.storageOf(this.number), this.number, () => this.clock, this.runs);
  }

  /** The platform lets only the newest incarnation of an object use its storage: a replaced one changes nothing. */
  storageOf(incarnation: number): Storage {
    return {
      sql: {
        exec: (query, ...bindings) =>
          incarnation === this.number ? this.storage.sql.exec(query, ...bindings) : { toArray: () => [] },
      },
      transactionSync: (closure) => this.storage.transactionSync(closure),
    };
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "call":
        this.call(step.id, step.body);
        break;
      case "crowd":
        await this.crowd(step.id, step.callers);
        break;
      case "answer":
        await this.answer(this.begun(step.which));
        break;
      case "fail":
        this.begun(step.which)?.fail();
        break;
      case "evict":
        this.number += 1;
        this.waiting = 0;
        this.object = this.wake();
        break;
      case "alarm":
        this.object.alarm.run(this.clock);
        expect(this.object.alarmFailures(), "no alarm task throws").toEqual([]);
        break;
      case "pull":
        this.pull();
        break;
      case "confirm":
        for (const written of this.written.splice(0)) this.object.outbox.confirm(written);
        break;
      case "deliver":
        this.deliver(step.which, step.again);
        break;
      case "lose":
        if (this.carried.length > 0) this.carried.splice(step.which % this.carried.length, 1);
        break;
      case "look up":
        this.lookUp();
        break;
      case "clock":
        this.clock += step.ms;
        await vi.advanceTimersByTimeAsync(Math.max(step.ms, 0) % 120_000);
        break;
    }
    await settled();
    this.latest = Math.max(this.latest, this.clock);
    this.check();
  }

  /** One of the runs whose orchestrator still owes an answer: of any incarnation, also one that was replaced. */
  begun(which: number): BegunRun | undefined {
    const open = this.runs.filter(({ over }) => !over);
    return open[which % Math.max(open.length, 1)];
  }

  call(id: string, body: string): void {
    void this.ask(id, body).then((outcome) => this.hear(outcome));
  }

  async ask(id: string, body: string): Promise<SubmitOutcome> {
    const { number } = this;
    this.waiting += 1;
    const outcome = await this.object.submit(submission(id, body));
    if (number === this.number) this.waiting -= 1;
    return outcome;
  }

  /** After a run that counts, the next begins by itself. */
  async answer(run: BegunRun | undefined): Promise<void> {
    if (run === undefined) return;
    const counts = run.incarnation === this.number && !run.signal.aborted;
    run.answer(`answer ${this.runs.length} ${this.clock}`);
    await settled();
    if (counts && this.object.turns.next() !== null) expect(this.live().length, "the next turn begins").toBe(1);
  }

  live(): BegunRun[] {
    return this.runs.filter(({ over, signal, incarnation: of }) => !over && !signal.aborted && of === this.number);
  }

  /** Many with one id at one moment: at most one of them gets to hold the turn. */
  async crowd(id: string, callers: number): Promise<void> {
    const outcomes: SubmitOutcome[] = [];
    for (let caller = 0; caller < callers; caller += 1) {
      void this.ask(id, "x").then((outcome) => {
        outcomes.push(outcome);
        this.hear(outcome);
      });
    }
    await settled();
    const sentAway = outcomes.filter(({ kind }) => kind !== "answered" && kind !== "accepted").length;
    expect(sentAway, "exactly one of a crowd may hold the turn").toBeGreaterThanOrEqual(callers - 1);
  }

  hear(outcome: SubmitOutcome): void {
    if (outcome.kind !== "answered" && outcome.kind !== "completed") return;
    const { answer } = outcome;
    if (outcome.kind === "answered" && outcome.entry !== undefined) this.carried.push(outcome.entry);
    this.told.push({ key: answer.inbound_message_id, text: answer.text, messageId: answer.message_id });
  }

  /** Postgres: takes what it is brought, each turn once, whatever is brought again. */
  pull(): void {
    const { entries, generation, positions } = this.object.outbox.pull(1_000_000);
    const order = entries.flatMap(({ messages }) => messages.map(({ seq }) => seq));
    expect(order, "entries come in the order of the conversation").toEqual(order.toSorted((a, b) => a - b));
    for (const entry of entries) this.write(entry);
    this.written.push({ generation, positions });
  }

  write(entry: LedgerEntry): void {
    expect(this.entries.get(entry.id) ?? entry, "what is brought again is the same").toEqual(entry);
    this.entries.set(entry.id, entry);
  }

  /** The queue delivers one of its messages, in any order, and perhaps again. */
  deliver(which: number, again: boolean): void {
    const index = which % Math.max(this.carried.length, 1);
    const stored = this.carried[index];
    if (stored === undefined) return;
    if (!again) this.carried.splice(index, 1);
    this.write(placeEntry(JSON.parse(stored.json), stored.position));
    this.written.push({ generation: stored.generation, positions: [stored.position] });
  }

  /** The conversation asks which of its entries Postgres has; those that it lacks are pulled. */
  lookUp(): void {
    const pending = this.object.outbox.pendingEntries("address");
    if (pending === null) return;
    const rows = new Set([...this.entries.values()].flatMap(({ messages }) => messages.map(({ id }) => id)));
    const found = pending.entries.filter(({ messageId }) => messageId !== null && rows.has(messageId));
    if (found.length < pending.entries.length) return this.pull();
    this.object.outbox.confirm({ generation: pending.generation, positions: found.map(({ position }) => position) });
  }

  check(): void {
    const rows = this.storage.sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM turns WHERE state = 'running'")
      .toArray();
    expect(rows[0]?.n, "I4: at most one turn runs").toBeLessThanOrEqual(1);

    expect(this.live().length, "I4: at most one run is live").toBeLessThanOrEqual(1);
    for (const { turn } of this.runs.filter(({ signal }) => signal.aborted)) {
      expect(this.latest, "only a run whose lease is over is replaced").toBeGreaterThanOrEqual(turn.leaseUntil ?? 0);
    }

    const fences = Map.groupBy(this.runs, ({ turn }) => turn.turnId);
    for (const runs of fences.values()) {
      const values = runs.map(({ turn }) => turn.fence);
      expect(values, "fences rise by one with every run").toEqual(values.map((_, index) => index + 1));
    }

    const firstRuns = [...fences.values()].map(([run]) => run?.turn.position ?? 0);
    expect(firstRuns, "turns begin in the order of admission").toEqual(firstRuns.toSorted((a, b) => a - b));

    for (const answers of Map.groupBy(this.told, ({ key }) => key).values()) {
      expect(new Set(answers.map(({ text }) => text)).size, "I3: all answers to one turn agree").toBe(1);
    }
  }

  /** Everything is let finish: what was ever admitted is answered, once, and Postgres has it. */
  async end(): Promise<void> {
    for (let round = 0; this.object.turns.next() !== null; round += 1) {
      expect(round, "a conversation comes to rest").toBeLessThan(200);
      this.object.runner.resume(this.clock);
      for (const run of this.runs.filter(({ over }) => !over)) run.answer("the end");
      await settled();
      this.check();
    }
    expect(this.waiting, "everybody who waits is told").toBe(0);
    // The queue has lost what it still had.
    for (let round = 0; this.object.outbox.pendingCount() > 0; round += 1) {
      expect(round, "every entry comes to be known in Postgres").toBeLessThan(20);
      this.lookUp();
      for (const written of this.written.splice(0)) this.object.outbox.confirm(written);
    }
    for (const entry of this.entries.values()) {
      const fences = this.runs.filter(({ turn }) => turn.turnId === entry.id).map(({ turn }) => turn.fence);
      // A turn that is given up is settled by one more run, which asks no orchestrator.
      const latest =
        Math.max(...fences) === MAX_RUNS && isGivenUp({ fence: entry.turn?.fence ?? 0 })
          ? MAX_RUNS + 1
          : Math.max(...fences);
      expect(entry.turn?.fence, "only the latest run settles").toBe(latest);
      expect(
        entry.messages.map(({ role }) => role),
        "I1: one message and one answer",
      ).toEqual(["user", "assistant"]);
    }
    const texts = new Map(
      [...this.entries.values()].map((entry) => [entry.messages[0]?.id, entry.messages[1]?.content]),
    );
    for (const { key, text } of this.told) expect(texts.get(key), "I2: what was told is what is kept").toBe(text);

    // One request id is one turn while its lock lives: two entries of an id are a lifetime or a session apart.
    for (const sameId of Map.groupBy(
      this.entries.values(),
      ({ turn }) => `${turn?.scope} ${turn?.requestId}`,
    ).values()) {
      const turns = sameId.map(({ turn }) => turn).toSorted((a, b) => (a?.lockedAt ?? 0) - (b?.lockedAt ?? 0));
      for (const [index, turn] of turns.slice(1).entries()) {
        expect(turn?.lockedAt, "I1: a request id runs once in its lifetime").toBeGreaterThanOrEqual(
          turns[index]?.expiresAt ?? 0,
        );
      }
    }
  }
}

/** Sequences of events: a few in each build, more when asked to be sure. */
const RUNS = Number(process.env.MODEL_RUNS ?? 500);

const settled = async (): Promise<void> => {
  for (let tick = 0; tick < 20; tick += 1) await Promise.resolve();
};

beforeAll(() => void vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] }));
afterAll(() => void vi.useRealTimers());

describe("a conversation that anything may happen to", () => {
  it(
    "any sequence of events runs each message once, in order, with one answer for all callers [C6.4.9, C6.4.10, C6.4.11]",
    { timeout: 600_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
          const world = new World();
          for (const next of steps) await world.take(next);
          await world.end();
        }),
        // Another seed each time: a short run in every build finds as much as a long one.
        { numRuns: RUNS },
      );
    },
  );
});
