import { LedgerBuffer } from "../../src/isolate/ledger-buffer.ts";
import { WrittenEntriesLog } from "../../src/isolate/written-entries.ts";
import { fetchKeySet } from "../../src/clients/jwks.ts";
import { createOrchestrator } from "../../src/clients/orchestrator/create.ts";
import { parseConfig } from "../../src/config.ts";
import { addresses } from "./addresses.ts";
import { connect } from "../../src/db/client.ts";
import { createReader } from "../../src/db/reader.ts";
import type { Deps, IsolateCaches } from "../../src/deps.ts";
import type { BroadcastTimer } from "../../src/rpc/broadcast-timer.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import { ConcurrencyLimit } from "../../src/isolate/concurrency-limit.ts";
import { RateLimits } from "../../src/isolate/rate-limits.ts";
import { Cache } from "../../src/isolate/cache.ts";
import { KeySets } from "../../src/isolate/key-sets.ts";
import { createLogger } from "../../src/telemetry/logger.ts";
import type { Answer, Submission, SubmitOutcome } from "../../src/domain/submission.ts";

type Options = {
  /** A Neon-compatible endpoint; without one every query fails. */
  endpoint?: string;
  /** Variables over those of development. */
  env?: Record<string, string>;
  now?: () => number;
  /** Deadline of a statement. */
  deadlineMs?: number;
};

export type TestDeps = Deps & {
  /** Parsed log lines. */
  lines: Record<string, any>[];
  conversations: RecordedConversations;
};

/** Dependencies of a new isolate: real parts with empty caches, and conversations that record their calls. */
export function createTestDeps({ endpoint = "http://127.0.0.1:1/sql", env, now, deadlineMs }: Options = {}): TestDeps {
  const config = parseConfig({
    ENVIRONMENT: "development",
    DATABASE_URL: "postgresql://test:test@localhost/test",
    NEON_ENDPOINT: endpoint,
    JWT_SECRET: "parley-development-secret-not-for-production",
    ADDRESS_KEY: "an-address-key-that-only-tests-have",
    ...env,
  });
  const clock = now ?? Date.now;
  const lines: Record<string, any>[] = [];
  const log = createLogger({
    level: config.logLevel,
    format: "json",
    write: (line) => lines.push(JSON.parse(line)),
    now: clock,
  });
  const db = connect({
    databaseUrl: config.databaseUrl,
    endpoint: config.neonEndpoint,
    deadlineMs: deadlineMs ?? 10_000,
  });
  const conversations = recordConversations();
  return {
    config,
    log,
    lines,
    now: clock,
    addresses,
    db,
    read: createReader(db),
    caches: emptyCaches(config.instanceCacheSeconds * 1000, clock),
    orchestrator: createOrchestrator(config, null, log),
    conversation: conversations.at,
    conversations,
    broadcastTimer: () => only<BroadcastTimer>({}),
    enqueueBroadcast: () => Promise.reject(new Error("enqueueBroadcast is not part of this test")),
    carryEntry: () => undefined,
    background: (work) => void work,
    withinFloodLimit: () => Promise.resolve(true),
  };
}

function emptyCaches(ttlMs: number, now: () => number): IsolateCaches {
  const options = { ttlMs, maxEntries: 10_000, joinTimeoutMs: 2_000, now };
  return {
    instances: new Cache(options),
    endpoints: new Cache(options),
    apiKeys: new Cache(options),
    activeBrands: new Cache(options),
    allowedOrigins: new Cache(options),
    tokenIssuers: new Cache(options),
    keySets: new KeySets({ fetch: fetchKeySet, now }),
    knownUsers: new Cache(options),
    newUsers: new Cache(options),
    rateLimits: new RateLimits(() => ({ lease: async (wanted) => ({ granted: wanted, retryAfterMs: 0 }) })),
    lookups: new ConcurrencyLimit(now),
    keyLookups: new ConcurrencyLimit(now),
    databaseLatency: new Cache({ ...options, ttlMs: 1_000 }),
    ledgerBuffer: new LedgerBuffer({ report: () => undefined, now }),
    writtenEntries: new WrittenEntriesLog(),
  };
}

export type RecordedConversations = {
  submissions: { address: string; submission: Submission }[];
  /** Outcomes of the next submissions; an answer by default. */
  outcome: ((submission: Submission) => SubmitOutcome) | null;
  at: (address: string) => Conversation;
};

/** An object with these methods; any other throws. */
const only = <T extends object>(methods: Partial<T>): T =>
  new Proxy(methods as T, {
    get: (target, name) =>
      Reflect.get(target, name) ??
      (() => {
        throw new Error(`${String(name)} is not part of this test`);
      }),
  });

function recordConversations(): RecordedConversations {
  const recorded: RecordedConversations = {
    submissions: [],
    outcome: null,
    at: (address) =>
      only<Conversation>({
        submit: async (sealed) => {
          const submission = { ...sealed, bundle: JSON.parse(sealed.bundle) as Submission["bundle"] };
          recorded.submissions.push({ address, submission });
          return recorded.outcome?.(submission) ?? { kind: "answered", answer: answerTo(submission) };
        },
      }),
  };
  return recorded;
}

/** An answer of a conversation. */
export const answerTo = (submission: Pick<Submission, "requestId" | "content" | "user">): Answer => ({
  request_id: submission.requestId,
  session_id: "01900000-0000-7000-8000-00000000000a",
  user_id: submission.user.id,
  is_guest: submission.user.tier === "guest",
  inbound_message_id: "01900000-0000-7000-8000-000000000001",
  message_id: "01900000-0000-7000-8000-000000000002",
  text: `You said: ${submission.content}`,
  token_usage: { prompt_in: 1, completion_out: 2, total: 3, cost_usd: "0.1" },
  fallback: false,
  timing_ms: { total: 3, admission: 1, orchestrator: 2 },
});
