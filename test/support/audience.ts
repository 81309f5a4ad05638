import { StateStore } from "../../durable-objects/conversation/stores/state.ts";
import { Outbox } from "../../durable-objects/conversation/stores/outbox.ts";
import { record } from "../../durable-objects/conversation/sessions/record.ts";
import { MIGRATIONS } from "../../durable-objects/conversation/stores/schema.ts";
import { TurnStore } from "../../durable-objects/conversation/stores/turns.ts";
import { migrate } from "../../durable-objects/runtime/migrate.ts";
import type { Conversation, Recording } from "../../src/rpc/conversation.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { createTestDeps } from "./deps.ts";
import type { TestDeps } from "./deps.ts";
import { sqliteStorage } from "./sqlite-storage.ts";
import type { BroadcastTimer } from "../../src/rpc/broadcast-timer.ts";

/** Called before a conversation records a broadcast's message: may wait or throw. */
export type Mood = (recording: Recording) => void | Promise<void>;

export type Audience = TestDeps & {
  /** User ids of all attempts. */
  reached: string[];
  /** Sets the behaviour of later attempts. */
  behave(mood: Mood): void;
  /** Calls of the timers, oldest first. */
  timers: { started: string[]; rests: { id: string; dueInMs: number | null }[] };
  rung: string[];
  /** Writes all pending entries of the conversations to Postgres. */
  save(): Promise<void>;
};

/**
 * Dependencies with real conversations on plain SQLite. Queue and timers call no consumer: the test runs
 * it.
 */
export function createAudience(endpoint: string): Audience {
  const deps = createTestDeps({ endpoint });
  const conversations = new Map<string, Pick<Conversation, "record" | "pull" | "confirm">>();
  const reached: string[] = [];
  const timers: Audience["timers"] = { started: [], rests: [] };
  const rung: string[] = [];
  let mood: Mood = () => undefined;

  const conversation = (address: string) => {
    const known = conversations.get(address);
    if (known) return known as Conversation;
    const made = conversationAt(address, deps.now, async (recording) => {
      reached.push(recording.userId);
      await mood(recording);
    });
    conversations.set(address, made);
    return made as Conversation;
  };

  return {
    ...deps,
    conversation,
    broadcastTimer: (id) => timerOf(id, timers),
    enqueueBroadcast: async (id) => void rung.push(id),
    reached,
    timers,
    rung,
    behave: (next) => {
      mood = next;
    },
    save: () => pullLedger({ ...deps, conversation }, [...conversations.keys()]),
  };
}

function conversationAt(
  address: string,
  now: () => number,
  before: Mood,
): Pick<Conversation, "record" | "pull" | "confirm"> {
  const storage = sqliteStorage();
  migrate(storage, MIGRATIONS);
  const state = new StateStore(storage);
  const parts = { storage, state, turns: new TurnStore(storage), outbox: new Outbox(storage, state) };
  return {
    record: async (recording) => {
      await before(recording);
      return record(parts, recording, { address, now: now() });
    },
    pull: async (maxBytes) => parts.outbox.pull(maxBytes),
    confirm: async (upTo) => {
      parts.outbox.confirm(upTo);
      return { waiting: parts.outbox.pendingCount() };
    },
  };
}

const timerOf = (id: string, timers: Audience["timers"]): BroadcastTimer => ({
  start: async () => void timers.started.push(id),
  current: async () => "started",
  rest: async (_start, dueInMs) => void timers.rests.push({ id, dueInMs }),
});
