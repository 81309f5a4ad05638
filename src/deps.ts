import type { ChannelDefinition, ChannelSender } from "./channels/channel.ts";
import type { LedgerBuffer } from "./isolate/ledger-buffer.ts";
import type { WrittenEntriesLog } from "./isolate/written-entries.ts";
import type { StoredEntry } from "./domain/ledger.ts";
import type { Orchestrator } from "./clients/orchestrator/port.ts";
import type { Config } from "./config.ts";
import type { Addresses } from "./domain/address.ts";
import type { Db } from "./db/client.ts";
import type { ApiKey, TokenIssuer } from "./db/credentials.ts";
import type { OriginsByBrand } from "./db/origins.ts";
import type { FoundUser, KnownUsers } from "./db/users.ts";
import type { Read } from "./db/reader.ts";
import type { Conversation } from "./rpc/conversation.ts";
import type { ChannelEndpoint, InboundMessage } from "./domain/inbound-message.ts";
import type { Channel } from "./domain/channel.ts";
import type { InstanceBundle } from "./domain/instance.ts";
import type { Resolution, ConversationRef } from "./domain/resolution.ts";
import type { RateLimits } from "./isolate/rate-limits.ts";
import type { Cache } from "./isolate/cache.ts";
import type { ConcurrencyLimit } from "./isolate/concurrency-limit.ts";
import type { KeySets } from "./isolate/key-sets.ts";
import type { Logger } from "./telemetry/logger.ts";
import type { BroadcastTimer } from "./rpc/broadcast-timer.ts";

/** State of an isolate between requests. A cache only: all of it may be lost at any time. */
export type IsolateCaches = {
  instances: Cache<InstanceBundle | null>;
  /** A business's endpoint of a channel, by the instance id or number that a caller names. */
  endpoints: Cache<ChannelEndpoint>;
  apiKeys: Cache<ApiKey | null>;
  /** Whether a brand is switched on, by id. */
  activeBrands: Cache<boolean>;
  /** The browser origins of all brands, under one key. */
  allowedOrigins: Cache<OriginsByBrand>;
  tokenIssuers: Cache<TokenIssuer | null>;
  keySets: KeySets;
  knownUsers: Cache<KnownUsers>;
  newUsers: Cache<FoundUser>;
  rateLimits: RateLimits;
  /** Of users. */
  lookups: ConcurrencyLimit;
  /** Of API keys, token issuers and instances by id, which a client may make up without end. */
  keyLookups: ConcurrencyLimit;
  /** Milliseconds of the last health check's round trip; null when the database did not answer. */
  databaseLatency: Cache<number | null>;
  ledgerBuffer: LedgerBuffer;
  writtenEntries: WrittenEntriesLog;
};

/** Dependencies of one invocation. A function asks for the part it uses: `Pick<Deps, ...>`. */
export type Deps = {
  config: Config;
  log: Logger;
  now: () => number;
  /** Makes the addresses of conversations, with the deploy's key. */
  addresses: Addresses;
  db: Db;
  read: Read;
  caches: IsolateCaches;
  /** null when none is configured; requests get 502 then. */
  orchestrator: Orchestrator | null;
  /** Stub of the conversation at an address. */
  conversation: (address: string) => Conversation;
  broadcastTimer: (broadcastId: string) => BroadcastTimer;
  enqueueBroadcast: (broadcastId: string) => Promise<unknown>;
  /** Sends an entry to the ledger together with others of this isolate, after the response. */
  carryEntry: (entry: StoredEntry) => void;
  /** Runs work after the response, without awaiting it. */
  background: (work: Promise<unknown>) => void;
  /** False when this client address exceeds the flood limit. */
  withinFloodLimit: (clientAddress: string) => Promise<boolean>;
};

/** Dependencies of a Conversation object. It reads Postgres only through `resolveWebhookMessage`. */
export type ObjectDeps = Pick<Deps, "config" | "log" | "now" | "addresses" | "conversation"> & {
  orchestrator: Orchestrator;
  /** Sends a message to the ledger's queue. */
  notifyLedger: (message: string) => Promise<unknown>;
  enqueueBroadcast: (broadcastId: string) => Promise<unknown>;
  /** Resolves instance and sender of a webhook message. */
  resolveWebhookMessage: (message: InboundMessage, place: ConversationRef) => Promise<Resolution>;
  channel: (name: Channel) => ChannelDefinition;
  /** null when the channel is not configured to send. */
  sender: (name: Channel) => ChannelSender | null;
};
