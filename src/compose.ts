import { LedgerBuffer } from "./isolate/ledger-buffer.ts";
import { WrittenEntriesLog } from "./isolate/written-entries.ts";
import { EVENT } from "./telemetry/events.ts";
import { fetchKeySet } from "./clients/jwks.ts";
import { createOrchestrator, missingOrchestrator } from "./clients/orchestrator/create.ts";
import type { ChannelSender } from "./channels/channel.ts";
import { channelOf } from "./channels/registry.ts";
import { createWhatsAppSender } from "./clients/whatsapp.ts";
import { parseConfig } from "./config.ts";
import type { Config } from "./config.ts";
import { connect } from "./db/client.ts";
import type { Db } from "./db/client.ts";
import type { KnownUsers } from "./db/users.ts";
import { createReader } from "./db/reader.ts";
import { resolveWebhookMessage } from "./flows/resolve-webhook-message.ts";
import { RateLimits } from "./isolate/rate-limits.ts";
import { Cache } from "./isolate/cache.ts";
import { ConcurrencyLimit, isShed } from "./isolate/concurrency-limit.ts";
import { oncePer, oncePerName } from "./isolate/once.ts";
import { KeySets } from "./isolate/key-sets.ts";
import type { Channel } from "./domain/channel.ts";
import { createLogger } from "./telemetry/logger.ts";
import type { Logger } from "./telemetry/logger.ts";
import { createAddresses } from "./domain/address.ts";
import type { Addresses } from "./domain/address.ts";
import { isDatabaseUnavailable } from "./domain/errors.ts";
import type { Deps, IsolateCaches, ObjectDeps } from "./deps.ts";

const META_API = "https://graph.facebook.com";

/** Deadline of one request to WhatsApp's API. */
const WHATSAPP_DEADLINE_MS = 15_000;

/** Deadline of one database request. */
const DATABASE_DEADLINE_MS = 5_000;

/** Cached values are served this long while Postgres is unavailable or lookups are shed. */
const STALE_IF_ERROR_MS = 24 * 3_600_000;

/** The isolate's caches by database, so that no two databases share entries. */
const cachesOf = oncePerName<IsolateCaches>();

function createCaches(config: Config, env: Env): IsolateCaches {
  const options = {
    ttlMs: config.instanceCacheSeconds * 1000,
    maxEntries: 10_000,
    joinTimeoutMs: 2_000,
    staleIfError: { ms: STALE_IF_ERROR_MS, when: (error: unknown) => isDatabaseUnavailable(error) || isShed(error) },
    now: Date.now,
  };
  // A revoked key must be refused within a minute, whatever the lifetime of other entries.
  const credentials = { ...options, ttlMs: Math.min(options.ttlMs, 60_000) };
  return {
    instances: new Cache(options),
    // A number keeps its id for years; a stale entry only costs a duplicate its fast path.
    endpoints: new Cache({ ...options, ttlMs: 24 * 3_600_000 }),
    apiKeys: new Cache(credentials),
    activeBrands: new Cache(credentials),
    allowedOrigins: new Cache(credentials),
    tokenIssuers: new Cache(credentials),
    keySets: new KeySets({ fetch: fetchKeySet, now: Date.now }),
    knownUsers: new Cache({ ...options, isAbsent: isNobody }),
    newUsers: new Cache(options),
    rateLimits: new RateLimits((key) => env.RATE_LIMITERS.getByName(key)),
    lookups: new ConcurrencyLimit(Date.now),
    keyLookups: new ConcurrencyLimit(Date.now),
    databaseLatency: new Cache({ ttlMs: 1_000, maxEntries: 10, joinTimeoutMs: 2_000, now: Date.now }),
    ledgerBuffer: new LedgerBuffer({
      report: (error, entries) => loggerFor(config, "worker").warn(EVENT.ledgerNotifyFailed, { error, entries }),
      now: Date.now,
    }),
    writtenEntries: new WrittenEntriesLog(),
  };
}

const isNobody = ({ byToken, byIdentifier }: KnownUsers): boolean => byToken === null && byIdentifier.length === 0;

/** Dependencies that follow from the configuration alone; made once per isolate, in which `env` never changes. */
type Foundation = { config: Config; db: Db; caches: IsolateCaches; addresses: Addresses };

/** Throws a `ConfigError` when the configuration is not usable. */
const foundationOf = oncePer((env: Env): Foundation => {
  const config = parseConfig({ ...env });
  const { databaseUrl, neonEndpoint } = config;
  const db = connect({ databaseUrl, endpoint: neonEndpoint, deadlineMs: DATABASE_DEADLINE_MS });
  const caches = cachesOf(databaseUrl, () => createCaches(config, env));
  return { config, db, caches, addresses: createAddresses(config.addressKey) };
});

const loggerFor = ({ logLevel, logFormat }: Config, name: "worker" | "conversation"): Logger =>
  createLogger({ level: logLevel, format: logFormat, name, write: (line) => console.log(line), now: Date.now });

/** The log of an object that may be unable to read its configuration. */
export const startupLog = (name: "conversation" | "broadcast-timer"): Logger =>
  createLogger({ level: "info", format: "json", name, write: (line) => console.log(line), now: Date.now });

/** An optional binding, which a deploy may add; it is not in the generated types. */
const orchestratorBinding = (env: Env): Fetcher | null =>
  "ORCHESTRATOR" in env ? (env.ORCHESTRATOR as Fetcher) : null;

/** null without a token for Meta's API; a configured base URL may need no token. */
function whatsAppSender({ whatsappApiBase: base, whatsappApiVersion: version, whatsappAccessToken: token }: Config) {
  if (base === null && token === null) return null;
  return createWhatsAppSender({ base: base ?? META_API, version, token, timeoutMs: WHATSAPP_DEADLINE_MS });
}

/** Throws a `ConfigError` when the configuration is not usable. */
export function createDeps(env: Env, background: Deps["background"] = (work) => void work): Deps {
  const { config, db, caches, addresses } = foundationOf(env);
  const log = loggerFor(config, "worker");
  return {
    config,
    log,
    now: Date.now,
    addresses,
    db,
    read: createReader(db),
    caches,
    orchestrator: createOrchestrator(config, orchestratorBinding(env), log),
    conversation: (address) => env.CONVERSATIONS.getByName(address),
    broadcastTimer: (broadcastId) => env.BROADCAST_TIMERS.getByName(broadcastId),
    enqueueBroadcast: (broadcastId) => env.BROADCAST.send(broadcastId),
    carryEntry: (entry) =>
      caches.ledgerBuffer.add(entry, { background, send: (message) => sendToLedger(env, message) }),
    background,
    withinFloodLimit: async (key) => (await env.FLOOD.limit({ key })).success,
  };
}

const sendToLedger = (env: Env, message: string): Promise<unknown> => env.LEDGER.send(message, { contentType: "text" });

export function createObjectDeps(env: Env): ObjectDeps {
  const { config, db, caches, addresses } = foundationOf(env);
  const log = loggerFor(config, "conversation");
  const orchestrator = createOrchestrator(config, orchestratorBinding(env), log);
  const senders: Partial<Record<Channel, ChannelSender | null>> = { whatsapp: whatsAppSender(config) };
  return {
    config,
    log,
    now: Date.now,
    addresses,
    conversation: (address) => env.CONVERSATIONS.getByName(address),
    resolveWebhookMessage: (message, place) =>
      resolveWebhookMessage({ db, read: createReader(db), caches, addresses, now: Date.now, log }, message, place),
    channel: channelOf,
    sender: (name) => senders[name] ?? null,
    // Admission refuses without an orchestrator; turns admitted earlier get the default reply.
    orchestrator: orchestrator ?? missingOrchestrator,
    notifyLedger: (message) => sendToLedger(env, message),
    enqueueBroadcast: (broadcastId) => env.BROADCAST.send(broadcastId),
  };
}
