import type { WrittenEntries } from "../../src/domain/ledger.ts";
import { abortAllDurableObjects, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { describe, expect, it, vi } from "vitest";
import type { Conversation as ConversationPort, SessionCommand } from "../../src/rpc/conversation.ts";
import { submission } from "../support/conversation.ts";
import type { Stage } from "../support/orchestrator-binding.ts";
import type { Submission } from "../../src/domain/submission.ts";
import { PATIENCE } from "../support/patience.ts";

/** A conversation by its address. A stub is broken for good once its object has died, so each call takes a new one. */
class Conversation {
  readonly #address = crypto.randomUUID();

  get stub() {
    return env.CONVERSATIONS.getByName(this.#address);
  }

  submit = (message: Submission) => this.#port.submit({ ...message, bundle: JSON.stringify(message.bundle) });
  pull = () => this.#port.pull(1_000_000);
  confirm = (written: WrittenEntries) => this.#port.confirm(written);
  erase = (command: SessionCommand) => this.#port.erase(command);

  get #port(): ConversationPort {
    return this.stub;
  }
}

const meet = () => new Conversation();

const message = (requestId: string, stage: Stage = {}, content = "Hello") =>
  submission(requestId, content, { metadata: { stage } });

const state = (conversation: Conversation) =>
  runInDurableObject(conversation.stub, (_object, { storage }) =>
    storage.sql
      .exec<{ request_id: string; state: string; fence: number }>(
        "SELECT request_id, state, fence FROM turns ORDER BY position",
      )
      .toArray(),
  );

/** Time can't be moved inside the runtime, but what it would have done to the tables can be done. */
const write = (conversation: Conversation, statement: string) =>
  runInDurableObject(conversation.stub, (_object, { storage }) => void storage.sql.exec(statement));

const reached = (conversation: Conversation, requestId: string, wanted: string) =>
  vi.waitFor(async () => {
    const turn = (await state(conversation)).find(({ request_id }) => request_id === requestId);
    expect(turn?.state).toBe(wanted);
  }, PATIENCE);

describe("a conversation on the platform", () => {
  it("a message is answered and the next one has it in its history", async () => {
    const conversation = meet();
    const first = await conversation.submit(message("a"));
    expect(first.kind).toBe("answered");
    const again = await conversation.submit(message("a"));
    expect(again).toEqual({ kind: "completed", answer: first.kind === "answered" && first.answer });
  });

  it("100 callers with one request id get one run and one answer", async () => {
    const conversation = meet();
    const outcomes = await Promise.all(
      Array.from({ length: 100 }, () => conversation.submit(message("a", { delay_ms: 50 }))),
    );
    const kinds = outcomes.map(({ kind }) => kind);
    expect([
      kinds.filter((kind) => kind === "answered").length,
      kinds.filter((kind) => kind === "in_progress").length,
    ]).toEqual([1, 99]);
    expect(await state(conversation)).toEqual([{ request_id: "a", state: "done", fence: 1 }]);
  });

  it("messages run one at a time in the order of their admission", async () => {
    const conversation = meet();
    const order: string[] = [];
    const ids = ["a", "b", "c", "d"];
    await Promise.all(
      ids.map(async (id, index) => {
        await conversation.submit(message(id, { delay_ms: 60 - index * 20 }));
        order.push(id);
      }),
    );
    expect(order).toEqual(ids);
  });
});

/** What the platform does to an object that idles, and what a crash does to any. */
const deaths = [
  ["is evicted", (conversation: Conversation) => evictDurableObject(conversation.stub)],
  ["dies", () => abortAllDurableObjects()],
] as const;

describe("an object that dies in the middle of a run", () => {
  /** A caller whose object goes away is told so, and nothing else. */
  const lost = (outcome: Promise<unknown>) => outcome.catch((error: unknown) => ({ kind: "lost", error }));

  it("exactly one caller takes over the turn of an object that crashed", async () => {
    const conversation = meet();
    const first = lost(conversation.submit(message("a", { delay_ms: 300 })));
    await reached(conversation, "a", "running");
    await abortAllDurableObjects();
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, () => conversation.submit(message("a", { delay_ms: 300 }))),
    );
    await first;
    expect(outcomes.filter(({ kind }) => kind === "answered")).toHaveLength(1);
    expect(outcomes.filter(({ kind }) => kind === "in_progress")).toHaveLength(9);
    const { entries } = await conversation.pull();
    expect(entries.map(({ turn, messages }) => [turn?.fence, messages.length])).toEqual([[2, 2]]);
  });

  it("the first caller after a crash gets all waiting messages run in their order", async () => {
    const conversation = meet();
    const ids = ["a", "b", "c"];
    const callers = ids.map((id) => lost(conversation.submit(message(id, { delay_ms: 200 }))));
    await reached(conversation, "a", "running");
    await reached(conversation, "c", "queued");
    await abortAllDurableObjects();
    expect((await conversation.submit(message("c", { delay_ms: 200 }))).kind).toBe("answered");
    await Promise.all(callers);
    const { entries } = await conversation.pull();
    expect(entries.map(({ turn }) => turn?.requestId)).toEqual(ids);
  });

  it("a turn without a caller is finished by the alarm after a crash, also when the alarm fires twice", async () => {
    const conversation = meet();
    const first = lost(conversation.submit(message("a", { delay_ms: 200 })));
    await reached(conversation, "a", "running");
    await abortAllDurableObjects();
    await runDurableObjectAlarm(conversation.stub);
    await runDurableObjectAlarm(conversation.stub);
    await reached(conversation, "a", "done");
    await first;
    expect(await state(conversation)).toEqual([{ request_id: "a", state: "done", fence: 2 }]);
  });

  it("a message that crashes every run gets the default reply after a few attempts", async () => {
    const conversation = meet();
    const first = lost(conversation.submit(message("a", { delay_ms: 200 })));
    await reached(conversation, "a", "running");
    await abortAllDurableObjects();
    await write(conversation, "UPDATE turns SET fence = 5");
    await runDurableObjectAlarm(conversation.stub);
    await reached(conversation, "a", "done");
    await first;
    const again = await conversation.submit(message("a", { delay_ms: 200 }));
    expect(again).toMatchObject({ kind: "completed", answer: { text: "Sorry", fallback: true } });
  });
});

describe("a conversation of which nothing matters any more", () => {
  it("an idle conversation deletes its storage and begins anew with the next message", async () => {
    const conversation = meet();
    await conversation.submit(message("a"));
    await conversation.confirm(await conversation.pull());
    await runDurableObjectAlarm(conversation.stub);
    await write(conversation, "UPDATE turns SET expires_at = 1");
    await write(conversation, "UPDATE state SET value = json_set(value, '$.lastMessageAt', 1) WHERE name = 'session'");
    await write(conversation, "UPDATE entries SET entry = json_set(entry, '$.session.lastMessageAt', 1)");
    await evictDurableObject(conversation.stub);
    await runDurableObjectAlarm(conversation.stub);
    await evictDurableObject(conversation.stub);
    const tables = await runInDurableObject(conversation.stub, async (_object, { storage }) => [
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
      await storage.getAlarm(),
    ]);
    expect(tables).toEqual([[], null]);
    expect((await conversation.submit(message("a"))).kind).toBe("answered");
  });

  it("a conversation keeps its storage until Postgres has everything", async () => {
    const conversation = meet();
    await conversation.submit(message("a"));
    await write(conversation, "UPDATE turns SET expires_at = 1");
    await write(conversation, "UPDATE state SET value = json_set(value, '$.lastMessageAt', 1) WHERE name = 'session'");
    await write(conversation, "UPDATE entries SET entry = json_set(entry, '$.session.lastMessageAt', 1)");
    await evictDurableObject(conversation.stub);
    await runDurableObjectAlarm(conversation.stub);
    expect((await conversation.pull()).entries).toHaveLength(1);
  });
});

describe("an object that nothing was said to", () => {
  const tables = (conversation: Conversation) =>
    runInDurableObject(conversation.stub, (_object, { storage }) =>
      storage.sql.exec("SELECT name FROM sqlite_master WHERE name NOT LIKE '\\_cf%' ESCAPE '\\'").toArray(),
    );

  it("an unused object stores nothing after a refused message, a late pull or a late confirmation", async () => {
    const conversation = meet();
    const exhausted = { retryAfterMs: 1_000 };
    expect((await conversation.submit({ ...message("a"), exhausted })).kind).toBe("limited");
    expect(await tables(conversation)).toEqual([]);
    expect((await conversation.pull()).entries).toEqual([]);
    expect(await conversation.confirm({ generation: "gone", positions: [7] })).toEqual({ waiting: 0 });
    expect(await tables(conversation)).toEqual([]);
    expect((await conversation.submit(message("a"))).kind).toBe("answered");
    expect(await tables(conversation)).not.toEqual([]);
  });
});

describe("a new incarnation of an object", () => {
  it("a new incarnation of an object does not postpone the alarm of the earlier one", async () => {
    const conversation = meet();
    const outcome = await conversation.submit(message("a"));
    if (outcome.kind !== "answered") throw new Error(outcome.kind);
    const alarm = () => runInDurableObject(conversation.stub, (_object, { storage }) => storage.getAlarm());
    const before = await alarm();
    await evictDurableObject(conversation.stub);
    const { user, bundle } = message("a");
    const caller = { kind: "user" as const, brandId: bundle.instance.brandId, userId: user.id };
    await conversation.erase({ sessionId: outcome.answer.session_id, caller, session: null });
    expect(await alarm()).toBe(before);
  });
});

describe("an object that is to be evicted", () => {
  it("an eviction waits for the end of the run", async () => {
    const conversation = meet();
    const first = conversation.submit(message("a", { delay_ms: 200 }));
    await reached(conversation, "a", "running");
    await evictDurableObject(conversation.stub);
    expect((await first).kind).toBe("answered");
    expect(await state(conversation)).toEqual([{ request_id: "a", state: "done", fence: 1 }]);
  });

  it("an object that has answered can be evicted", async () => {
    const conversation = meet();
    await conversation.submit(message("a"));
    // Waits for everything the object still has to do; a timer left behind would be waited for.
    await evictDurableObject(conversation.stub);
    expect((await conversation.submit(message("a"))).kind).toBe("completed");
  });
});

describe.each(deaths)("an object that %s between two calls", (_how, die) => {
  it("a turn's entries are pulled again until they are confirmed, after the object was lost", async () => {
    const conversation = meet();
    const outcome = await conversation.submit(message("a"));
    await die(conversation);
    const pulled = await conversation.pull();
    await die(conversation);
    expect(await conversation.pull()).toEqual(pulled);
    expect(pulled.entries[0]?.turn?.cachedResponse).toEqual(outcome.kind === "answered" && outcome.answer);
    await conversation.confirm(pulled);
    expect((await conversation.pull()).entries).toEqual([]);
    await die(conversation);
    expect((await conversation.pull()).entries).toEqual([]);
    expect((await conversation.submit(message("a"))).kind).toBe("completed");
  });

  it("an entry added between a pull and its confirmation is kept, after the object was lost", async () => {
    const conversation = meet();
    await conversation.submit(message("a"));
    const pulled = await conversation.pull();
    await conversation.submit(message("b"));
    await die(conversation);
    expect(await conversation.confirm(pulled)).toEqual({ waiting: 1 });
    const again = await conversation.pull();
    expect(again.entries.map(({ turn }) => turn?.requestId)).toEqual(["b"]);
    expect(await conversation.confirm(again)).toEqual({ waiting: 0 });
  });
});
