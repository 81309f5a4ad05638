import { beforeEach, describe, expect, it } from "vitest";
import { settleTurn } from "../../../../durable-objects/conversation/turns/settle.ts";
import { inboundMessageIdOf, replyMessageIdOf, usageIdOf } from "../../../../src/domain/ids.ts";
import type { LedgerEntry } from "../../../../src/domain/ledger.ts";
import type { TurnResult } from "../../../../durable-objects/conversation/turns/answer.ts";
import { incarnation, LIFETIME_MS, submission } from "../../../support/conversation.ts";
import type { BegunRun } from "../../../support/conversation.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";

const T0 = 1_800_000_000_000;

let now = T0;
let runs: BegunRun[] = [];
let storage = sqliteStorage();
let object = incarnation(storage, 0, () => now, runs);

beforeEach(() => {
  now = T0;
  runs = [];
  storage = sqliteStorage();
  object = incarnation(storage, 0, () => now, runs);
});

const USAGE = {
  templateKey: "reply",
  functionName: "response",
  plannedTokens: 100,
  sentTokens: 12,
  receivedTokens: 34,
  totalTokens: 46,
  llmModelId: null,
  inputPricePer1k: "0.15",
  outputPricePer1k: "0.6",
  costUsd: "0.0222",
};

const result = (changes: Partial<TurnResult> = {}): TurnResult => ({
  text: "Hi, Ann",
  fallback: false,
  tokenUsage: { prompt_in: 12, completion_out: 34, total: 46, cost_usd: "0.0222" },
  usage: USAGE,
  tokenPlan: { templates: {}, created_at: "2026-11-22T12:00:00.000Z" },
  metadata: { orchestrator_response: { text: "Hi, Ann", mood: "good" } },
  warnings: [],
  orchestratorMs: 700,
  ...changes,
});

/** Settles the last turn that began, as its run would. */
function settleLast(changes: Partial<TurnResult> = {}) {
  const turn = runs.at(-1)?.turn;
  if (!turn?.work) throw new Error("No turn has begun");
  return {
    turn,
    answer: settleTurn(object, turn, turn.work, result(changes), { address: "address", lifetimeMs: LIFETIME_MS, now }),
  };
}

/** Somebody says hello with request id `r1`, and is answered a second later: the turn, its answer, and its entry. */
function settled({
  said = {},
  answered = {},
}: { said?: Parameters<typeof submission>[2]; answered?: Partial<TurnResult> } = {}) {
  void object.submit(submission("r1", "Hello", { receivedAt: T0 - 5, ...said }));
  now += 1_000;
  const { turn, answer: settledTurn } = settleLast(answered);
  const answer = settledTurn?.answer ?? null;
  const [entry] = entries();
  const [inbound, reply] = entry?.messages ?? [];
  if (answer === null || !entry || !inbound || !reply) throw new Error("The turn was not settled");
  return { turn, answer, entry, inbound, reply };
}

const entries = (): LedgerEntry[] => object.outbox.pull(1_000_000).entries;

describe("what a person said", () => {
  it("a message is stored as the user's with its request id [B2.2.1]", () => {
    const { turn, inbound } = settled();
    expect(inbound).toMatchObject({
      id: inboundMessageIdOf(turn.turnId),
      role: "user",
      content: "Hello",
      requestId: "r1",
      traceId: "trace",
      createdAt: T0,
    });
  });

  it.each(["api", "web", "app"] as const)(
    "a message is stored with the channel %s, whatever its metadata say [B2.2.2]",
    (channel) => {
      const { inbound, reply } = settled({ said: { channel, metadata: { channel: "elsewhere", page: 7 } } });
      expect([inbound.metadata, reply.metadata["channel"]]).toEqual([{ channel, page: 7 }, channel]);
    },
  );
});

describe("what the person is answered", () => {
  it("a reply is stored as the assistant's, after its message and with the same request id [B2.7.1]", () => {
    const { turn, inbound, reply, answer } = settled();
    expect(reply).toMatchObject({
      id: replyMessageIdOf(turn.turnId),
      role: "assistant",
      content: "Hi, Ann",
      requestId: "r1",
      traceId: "trace",
      createdAt: T0 + 1_000,
    });
    expect(reply.seq).toBeGreaterThan(inbound.seq);
    expect(answer).toMatchObject({ text: "Hi, Ann", message_id: reply.id, inbound_message_id: inbound.id });
  });

  it("a reply is stored with the whole response and whether it was the default [B2.7.2]", () => {
    const { reply } = settled();
    expect(reply.metadata).toMatchObject({
      orchestrator_response: { text: "Hi, Ann", mood: "good" },
      fallback: false,
    });
    object = incarnation((storage = sqliteStorage()), 0, () => now, runs);
    const silent = settled({ answered: { text: "Sorry", fallback: true, usage: null, metadata: {} } });
    expect(silent.reply.metadata).toMatchObject({ fallback: true });
    expect(silent.reply.metadata).not.toHaveProperty("orchestrator_response");
    expect(silent.answer.fallback).toBe(true);
  });

  it("a reply states its durations to the caller and in storage [B2.9.2]", () => {
    const { reply, answer } = settled();
    const timing = { total: 1_005, admission: 5, orchestrator: 700 };
    expect([answer.timing_ms, reply.metadata["timing_ms"]]).toEqual([timing, timing]);
  });

  it("a turn has one usage row", () => {
    const { turn, entry } = settled();
    expect(entry.usage).toEqual({ ...USAGE, id: usageIdOf(turn.turnId) });
    expect(settleLast().answer).toBeNull();
    expect(entries()).toHaveLength(1);
  });

  it("a repeated request gets the same reply", async () => {
    const { answer, entry } = settled();
    expect(await object.submit(submission("r1", "Hello"))).toEqual({ kind: "completed", answer });
    expect(entry.turn).toMatchObject({ cachedResponse: answer, expiresAt: now + LIFETIME_MS });
  });
});

describe("a session", () => {
  const known = () => object.state.get("session");

  it("a turn moves the session's last message time to its answer [B2.7.3]", () => {
    const { entry, reply } = settled();
    expect([entry.session.lastMessageAt, known()?.lastMessageAt]).toEqual([T0 + 1_000, T0 + 1_000]);
    expect(reply.createdAt).toBe(entry.session.lastMessageAt);
  });

  it("a turn sets the session's last reply time, which is empty before the first [B2.7.4]", () => {
    void object.submit(submission("r1", "Hello"));
    expect(known()).toMatchObject({ lastMessageAt: T0, lastAssistantMessageAt: null });
    now += 1_000;
    settleLast();
    expect([entries()[0]?.session.lastAssistantMessageAt, known()?.lastAssistantMessageAt]).toEqual([
      T0 + 1_000,
      T0 + 1_000,
    ]);
  });

  it("an answer is later than its question, whatever the clock says", () => {
    void object.submit(submission("r1", "Hello"));
    now -= 60_000;
    settleLast();
    const [entry] = entries();
    expect(entry?.messages.map(({ createdAt }) => createdAt)).toEqual([T0, T0 + 1]);
    expect(entry?.session).toMatchObject({ lastMessageAt: T0 + 1, lastAssistantMessageAt: T0 + 1 });
  });

  it("a session keeps the token plan of its first turn", () => {
    const { entry } = settled();
    expect([entry.session.tokenPlan, known()?.tokenPlan]).toEqual([result().tokenPlan, result().tokenPlan]);
  });
});

describe("a message without a speaker", () => {
  it("a turn without a user is refused and leaves nothing [B2.1.3]", async () => {
    const outcome = await object.submit(submission("r1", "Hello", { user: { id: "", tier: "standard" } }));
    expect(outcome).toMatchObject({
      kind: "refused",
      code: "VALIDATION_ERROR",
      details: { fields: [{ field: "user" }] },
    });
    expect([runs, entries(), object.state.get("session")]).toEqual([[], [], null]);
  });
});

it("a session ended while a turn runs stays ended and keeps the reply", () => {
  void object.submit(submission("r1", "Hello", { receivedAt: T0 - 5 }));
  const session = object.state.get("session");
  if (session === null) throw new Error("There is no session");
  object.state.set("ended", { sessionId: session.id, expiredAt: session.lastMessageAt });
  now += 1_000;
  settleLast();
  const [reply, end] = entries();
  expect([reply?.messages.length, reply?.closed, end?.closed]).toEqual([
    2,
    null,
    { sessionId: session.id, expiredAt: now },
  ]);
  void object.submit(submission("r2", "Hello again"));
  expect(object.state.get("session")?.id).not.toBe(session.id);
});
