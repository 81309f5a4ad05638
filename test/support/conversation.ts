import { createConversation } from "../../durable-objects/conversation/create.ts";
import type { ConversationHost } from "../../durable-objects/conversation/create.ts";
import type { StoredTurn } from "../../durable-objects/conversation/stores/turn.ts";
import { submit } from "../../durable-objects/conversation/turns/submit.ts";
import type { Storage } from "../../durable-objects/runtime/storage.ts";
import { channelOf } from "../../src/channels/registry.ts";
import type { Orchestrator } from "../../src/clients/orchestrator/port.ts";
import { parseConfig } from "../../src/config.ts";
import type { ObjectDeps } from "../../src/deps.ts";
import type { Submission, SubmitOutcome } from "../../src/domain/submission.ts";
import { createLogger } from "../../src/telemetry/logger.ts";
import { demoBundle } from "./bundle.ts";
import { addresses } from "./addresses.ts";

export const LEASE_MS = 300_000;
export const LIFETIME_MS = 86_400_000;
export const SESSION_TIMEOUT_MS = 3_600_000;

/** A run that waits for its orchestrator: the test decides when the answer comes, and whether. */
export type BegunRun = {
  turn: StoredTurn;
  incarnation: number;
  signal: AbortSignal;
  answer: (text: string) => void;
  /** The orchestrator answers, and the disk fails when the answer is written. */
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

const ENVIRONMENT = { DATABASE_URL: "postgresql://test", ENVIRONMENT: "development" };
const DEFAULTS = parseConfig(ENVIRONMENT);

const unused = () => Promise.reject(new Error("not part of this test"));

/** An orchestrator that does not stream. The first step runs at once, so a run has begun when its caller waits. */
export const answering = (answer: (...call: Parameters<Orchestrator>) => Promise<unknown>): Orchestrator =>
  // oxlint-disable-next-line require-yield
  async function* (...call) {
    return { response: await answer(...call) };
  };

/** What a conversation may touch, without the platform: nothing outside it answers unless a test says so. */
export function objectDeps({
  now,
  env = {},
  ...changes
}: Partial<ObjectDeps> & { now: () => number; env?: Record<string, string> }) {
  const lines: Record<string, any>[] = [];
  const deps: ObjectDeps = {
    config: env === undefined ? DEFAULTS : parseConfig({ ...ENVIRONMENT, ...env }),
    log: createLogger({ level: "info", format: "json", write: (line) => lines.push(JSON.parse(line)), now }),
    now,
    addresses,
    conversation: () => {
      throw new Error("not part of this test");
    },
    orchestrator: answering(unused),
    notifyLedger: () => Promise.resolve(),
    enqueueBroadcast: unused,
    resolveWebhookMessage: unused,
    channel: channelOf,
    sender: () => null,
    ...changes,
  };
  return { deps, lines };
}

/** One incarnation of a conversation over a storage: the real one, with the platform's part in the test's hands. */
export function conversationOver(host: Pick<ConversationHost, "storage" | "deps"> & Partial<ConversationHost>) {
  const alarms: number[] = [];
  const conversation = createConversation({
    address: "address",
    alarmAt: null,
    setAlarm: (at) => void alarms.push(at),
    background: (work) => void work,
    empty: () => undefined,
    ...host,
  });
  return {
    ...conversation,
    /** Times the platform's alarm was set to. */
    alarms,
    submit: ({ bundle, ...message }: Submission): Promise<SubmitOutcome> =>
      submit(conversation, host.deps, { ...message, bundle: JSON.stringify(bundle) }),
  };
}

/** One incarnation whose orchestrator answers when the test says so. `host` takes the place of the platform. */
export function incarnation(
  storage: Storage,
  number: number,
  now: () => number,
  runs: BegunRun[],
  { turnsPerMinute = 0, ...host }: { turnsPerMinute?: number } & Partial<ConversationHost> = {},
) {
  const failing = new Set<number>();
  const { deps, lines } = objectDeps({
    now,
    config: { ...DEFAULTS, rateLimitUserPerMinute: turnsPerMinute },
    orchestrator: answering((_adapter, { signal }) => {
      const turn = object.turns.next();
      if (turn === null) throw new Error("A run without a turn");
      const reply = Promise.withResolvers<{ text: string }>();
      const end = (text: string) => {
        begun.over = true;
        reply.resolve({ text });
      };
      const begun: BegunRun = {
        turn,
        incarnation: number,
        signal,
        over: false,
        answer: end,
        fail: () => {
          // A run that was replaced writes nothing, so it can't fail to.
          if (object.turns.find(turn.scope, turn.requestId)?.fence === turn.fence) failing.add(turn.position);
          end("lost");
        },
      };
      runs.push(begun);
      return reply.promise;
    }),
  });
  const object = conversationOver({ storage: brokenFor(storage, failing), deps, ...host });
  return {
    ...object,
    failures: () => lines.filter(({ event }) => event === "turn_failed"),
    alarmFailures: () => lines.filter(({ event }) => event === "alarm_failed"),
  };
}

export type Incarnation = ReturnType<typeof incarnation>;

/** A storage that fails, once each, to write the answer of the turns at these positions. */
function brokenFor(storage: Storage, positions: Set<number>): Storage {
  return {
    ...storage,
    sql: {
      exec: (query, ...bindings) => {
        const isAnswer = query.includes("SET state = ?, lease_until = NULL");
        if (isAnswer && positions.delete(Number(bindings.at(-1)))) throw new Error("The disk failed");
        return storage.sql.exec(query, ...bindings);
      },
    },
  };
}
