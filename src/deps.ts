import type { Orchestrator } from "./clients/orchestrator/port.ts";
import type { WhatsAppSender } from "./clients/whatsapp.ts";
import type { Config } from "./config.ts";
import type { Db } from "./db/client.ts";
import type { ApiKey, TokenIssuer } from "./db/credentials.ts";
import type { FoundUser, KnownUsers } from "./db/users.ts";
import type { Read } from "./db/reader.ts";
import type { Conversation } from "./rpc/conversation.ts";
import type { ChannelEndpoint, InboundMessage } from "./domain/inbound-message.ts";
import type { InstanceBundle } from "./domain/instance.ts";
import type { Resolution, ConversationRef } from "./domain/resolution.ts";
import type { RateLimits } from "./isolate/rate-limits.ts";
import type { Cache } from "./isolate/cache.ts";
import type { ConcurrencyLimit } from "./isolate/concurrency-limit.ts";
import type { KeySets } from "./isolate/key-sets.ts";
import type { Logger } from "./telemetry/logger.ts";
import type { BroadcastTimer } from "./rpc/broadcast-timer.ts";

/** What an isolate remembers between requests. Nothing here is the truth; all of it may be forgotten at any time. */
export type IsolateCaches = {
  instances: Cache<InstanceBundle | null>;
  /** A business's end of a channel, by the instance id or the number a caller names it by. */
  endpoints: Cache<ChannelEndpoint>;
  apiKeys: Cache<ApiKey | null>;
  tokenIssuers: Cache<TokenIssuer | null>;
  keySets: KeySets;
  knownUsers: Cache<KnownUsers>;
  newUsers: Cache<FoundUser>;
  rateLimits: RateLimits;
  lookups: ConcurrencyLimit;
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
  enqueueBroadcast: (broadcastId: string) => Promise<unknown>;
  /** Goes on after the answer, and nobody waits for it. */
  background: (work: Promise<unknown>) => void;
  /** False when this address has created more than a person would. */
  withinFloodLimit: (clientAddress: string) => Promise<boolean>;
};

/** What a Conversation object may touch: no database, but for what `introduce` asks of it. */
export type ObjectDeps = Pick<Deps, "config" | "log" | "now" | "conversation"> & {
  orchestrator: Orchestrator;
  notifyLedger: (address: string) => Promise<unknown>;
  enqueueBroadcast: (broadcastId: string) => Promise<unknown>;
  /** Finds out whose and to whom a message of a webhook is. */
  resolveWebhookMessage: (message: InboundMessage, place: ConversationRef) => Promise<Resolution>;
  /** null when nothing is configured to send with. */
  sendWhatsApp: WhatsAppSender | null;
};
