import { createOrchestrator } from "./clients/orchestrator.ts";
import type { Orchestrator } from "./clients/orchestrator.ts";
import { parseConfig } from "./config.ts";
import type { Config } from "./config.ts";
import { connect } from "./db/client.ts";
import type { Db } from "./db/client.ts";
import type { ApiKey } from "./db/credentials.ts";
import type { FoundUser } from "./db/identities.ts";
import { createReader } from "./db/reader.ts";
import type { Read } from "./db/reader.ts";
import type { BroadcastTimer } from "./domain/broadcast.ts";
import type { Conversation } from "./domain/conversation.ts";
import type { InstanceBundle } from "./domain/instance.ts";
import { Allowances } from "./services/allowance.ts";
import { Cache } from "./services/cache.ts";
import type { Acquaintances } from "./services/identity.ts";
import { createLogger } from "./telemetry/logger.ts";
import type { Logger } from "./telemetry/logger.ts";

/** What an isolate remembers between requests. Nothing here is the truth; all of it may be forgotten at any time. */
export type IsolateCaches = {
  instances: Cache<InstanceBundle | null>;
  apiKeys: Cache<ApiKey | null>;
  acquaintances: Cache<Acquaintances>;
  newcomers: Cache<FoundUser>;
  allowances: Allowances;
};

/** Everything an invocation may touch, built once for it. Functions ask for the part they use. */
export type Deps = {
  config: Config;
  log: Logger;
  now: () => number;
  db: Db;
  read: Read;
  caches: IsolateCaches;
  /** null when none is configured, which outside development is a 502. */
  orchestrator: Orchestrator | null;
  /** The conversation at an address. */
  conversation: (address: string) => Conversation;
  broadcastTimer: (broadcastId: string) => BroadcastTimer;
  ringBroadcast: (broadcastId: string) => Promise<unknown>;
  /** False when this address has created more than a person would. */
  withinFloodLimit: (clientAddress: string) => Promise<boolean>;
};

/** What a Conversation object may touch: no database. */
export type ObjectDeps = Pick<Deps, "config" | "log" | "now"> & {
  orchestrator: Orchestrator;
  ringLedger: (address: string) => Promise<unknown>;
  ringBroadcast: (broadcastId: string) => Promise<unknown>;
};

/** How long a statement may take before the request gives up on it. */
const DATABASE_DEADLINE_MS = 5_000;

const caches = new Map<string, IsolateCaches>();

/** The isolate's caches: the one thing that outlives an invocation. By database, so that no two ever share what they know. */
function isolateCaches(config: Config, env: Env): IsolateCaches {
  const known = caches.get(config.databaseUrl);
  if (known) return known;
  const options = { ttlMs: config.instanceCacheSeconds * 1000, maxEntries: 10_000, patienceMs: 2_000, now: Date.now };
  const made: IsolateCaches = {
    instances: new Cache(options),
    apiKeys: new Cache(options),
    acquaintances: new Cache(options),
    newcomers: new Cache(options),
    allowances: new Allowances((instanceId) => env.LIMITERS.getByName(instanceId)),
  };
  caches.set(config.databaseUrl, made);
  return made;
}

const loggerFor = ({ logLevel, logFormat }: Config): Logger =>
  createLogger({ level: logLevel, format: logFormat, write: (line) => console.log(line), now: Date.now });

/** Optional bindings are not in the generated types: a deploy may add them. */
const orchestratorBinding = (env: Env): Fetcher | null =>
  "ORCHESTRATOR" in env ? (env.ORCHESTRATOR as Fetcher) : null;

/** Throws a `ConfigError` when the configuration is not usable. */
export function createDeps(env: Env): Deps {
  const config = parseConfig({ ...env });
  const log = loggerFor(config);
  const db = connect({
    databaseUrl: config.databaseUrl,
    endpoint: config.neonEndpoint,
    deadlineMs: DATABASE_DEADLINE_MS,
  });
  return {
    config,
    log,
    now: Date.now,
    db,
    read: createReader(db),
    caches: isolateCaches(config, env),
    orchestrator: createOrchestrator(config, orchestratorBinding(env), log),
    conversation: (address) => env.CONVERSATIONS.getByName(address),
    broadcastTimer: (broadcastId) => env.BROADCAST_TIMERS.getByName(broadcastId),
    ringBroadcast: (broadcastId) => env.BROADCAST.send(broadcastId),
    withinFloodLimit: async (key) => (await env.FLOOD.limit({ key })).success,
  };
}

export function createObjectDeps(env: Env): ObjectDeps {
  const config = parseConfig({ ...env });
  const log = loggerFor(config);
  const orchestrator = createOrchestrator(config, orchestratorBinding(env), log);
  return {
    config,
    log,
    now: Date.now,
    // Admission is refused before it comes to this; a turn that outlived the configuration is answered by default.
    orchestrator: orchestrator ?? (() => Promise.reject(new Error("No orchestrator is configured"))),
    ringLedger: (address) => env.LEDGER.send(address),
    ringBroadcast: (broadcastId) => env.BROADCAST.send(broadcastId),
  };
}
