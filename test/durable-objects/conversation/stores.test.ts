import { describe, expect, it } from "vitest";
import { openStores } from "../../../durable-objects/conversation/stores.ts";
import { MAX_RUNS } from "../../../src/domain/turn.ts";
import { demoBundle } from "../../support/bundle.ts";
import { incarnation, submission } from "../../support/conversation.ts";
import type { BegunRun } from "../../support/conversation.ts";
import { sqliteStorage } from "../../support/sqlite-storage.ts";

const NOW = 1_800_000_000_000;
const flush = async () => {
  for (let tick = 0; tick < 20; tick += 1) await Promise.resolve();
};

describe("a conversation's memory", () => {
  it("a conversation's memory equals its storage after an error", () => {
    const storage = sqliteStorage();
    const { storage: guarded, state, turns } = openStores(storage, () => NOW);
    state.set("lastSaidAt", 1);
    const turn = { scope: "s", turnId: "t", sessionId: "x", fingerprint: "f", admittedAt: 1, work: {} as never };
    turns.enqueue({ ...turn, requestId: "a" });
    expect(() =>
      guarded.transactionSync(() => {
        state.set("lastSaidAt", 2);
        state.set("lastHeardAt", 2);
        turns.close(turns.find("s", "a")!, "done", 1, 1);
        turns.enqueue({ ...turn, requestId: "b" });
        expect(turns.next()?.requestId).toBe("b");
        throw new Error("a bug");
      }),
    ).toThrow("a bug");
    expect([state.get("lastSaidAt"), state.get("lastHeardAt")]).toEqual([1, null]);
    expect(turns.next()?.requestId).toBe("a");
  });

  it("a conversation's memory does not take a value that its storage refuses", () => {
    const { state } = openStores(sqliteStorage(), () => NOW);
    state.set("forwardsTo", "here");
    expect(() => state.set("forwardsTo", "x".repeat(2_000_000))).toThrow("too big");
    expect(state.get("forwardsTo")).toBe("here");
  });
});

describe("a configuration near the platform's limit of a value", () => {
  const bundle = demoBundle();
  bundle.config!.templateSet!.templates["reply"]!.sections = [{ name: "system", text: "x".repeat(1_990_000) }];

  it("a configuration near the platform's limit is refused at admission, and the conversation continues", async () => {
    const runs: BegunRun[] = [];
    const object = incarnation(sqliteStorage(), 0, () => NOW, runs);
    expect(await object.submit(submission("a", "x", { bundle }))).toMatchObject({
      kind: "refused",
      code: "VALIDATION_ERROR",
    });
    const next = object.submit(submission("b", "x"));
    runs[0]?.answer("An answer");
    expect(await next).toMatchObject({ kind: "answered" });
  });
});

describe("a turn that can't be written, whatever is tried", () => {
  it("a turn that can't be written becomes a dead letter after its last run, and the next turn runs", async () => {
    const disk = sqliteStorage();
    const storage = {
      ...disk,
      sql: {
        exec: (query: string, ...bindings: any[]) => {
          const isFirst = query.includes("SET state = ?, lease_until = NULL") && bindings.at(-1) === 1;
          if (isFirst) throw new Error("The disk failed");
          return disk.sql.exec<any>(query, ...bindings);
        },
      },
    };
    const runs: BegunRun[] = [];
    const object = incarnation(storage, 0, () => NOW, runs);
    const first = object.submit(submission("a", "x")).catch((error: unknown) => error);
    const second = object.submit(submission("b", "x"));
    for (let run = 0; run <= MAX_RUNS; run += 1) {
      runs.at(-1)?.answer("An answer");
      await flush();
      object.runner.resume(NOW);
      await flush();
    }
    expect(await first).toBeInstanceOf(Error);
    runs.at(-1)?.answer("An answer");
    expect(await second).toMatchObject({ kind: "answered" });
    expect(object.outbox.pull(1_000_000).notices).toMatchObject([
      { kind: "dead_letter", source: "api", reason: "turn_failed", payload: { message: { content: "x" } } },
    ]);
    // The request id may be sent again.
    void object.submit(submission("a", "x"));
    expect(runs.at(-1)?.turn.requestId).toBe("a");
  });
});
