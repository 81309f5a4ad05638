import type { AddressKind, Alias } from "../domain/address.ts";
import type { Channel } from "../domain/channel.ts";
import type { DeliveryStatus } from "../domain/delivery.ts";
import type { Refused } from "../domain/errors.ts";
import type { ChannelIdentity, InboundMessage } from "../domain/inbound-message.ts";
import type { InstanceBundle, WhatsAppTemplate } from "../domain/instance.ts";
import type { LedgerPull, LedgerUsage, StoredEntry, WrittenEntries } from "../domain/ledger.ts";
import type { Cursor } from "../domain/page.ts";
import type { Caller } from "../domain/principal.ts";
import type { Role } from "../domain/role.ts";
import type { Session } from "../domain/session.ts";
import type { WireSubmission, SubmitOutcome } from "../domain/submission.ts";
import type { Message } from "../domain/message.ts";

/** Messages outside a turn: a transcript, a broadcast's message. Recorded in order and not answered. */
export type Recording = {
  brandId: string;
  instanceId: string;
  userId: string;
  channel: Channel;
  /** The user's open session in Postgres; used only when the object has none. */
  openSession: Session | null;
  sessionTimeoutMs: number;
  messages: RecordedMessage[];
  /** Set when the messages are also sent through a channel. */
  outbound?: Outbound | null;
  via?: Via;
};

/** Recipient, sending number and fallback template of messages sent through a channel. */
export type Outbound = {
  channel: Channel;
  person: ChannelIdentity;
  /** null when the business has no sending number. */
  phoneNumberId: string | null;
  template: WhatsAppTemplate | null;
};

/** A recorded message, deduplicated by id. */
export type RecordedMessage = {
  id: string;
  /** The client's UUID that the id was derived from: a message of the session may have it as its id. */
  clientId?: string | null;
  /** Hash of role and content; set when the client names the message. The same id with another hash is a conflict. */
  fingerprint?: string | null;
  role: Role;
  content: string;
  /** When it was said, if known. Epoch milliseconds. */
  saidAt: number | null;
  requestId: string | null;
  traceId: string | null;
  metadata: Record<string, unknown>;
};

export type RecordOutcome =
  | {
      kind: "recorded";
      sessionId: string;
      /** For the caller to carry to the ledger; left out when there is nothing new or the conversation announces it. */
      entry?: StoredEntry;
    }
  | Refused;

/** `ids` are the messages' ids in order; one that the session had before keeps its own. */
export type TranscribeOutcome = (Exclude<RecordOutcome, Refused> & { ids: string[] }) | Conflict | Unknown | Refused;

/** Indexes of messages with ids that the session already has with another content. Nothing of the transcript was recorded. */
export type Conflict = { kind: "conflict"; indexes: number[] };

/** Nothing can be sent to the user now, so the message was not recorded. `code` is a delivery error's: `WINDOW_CLOSED`. */
export type Undeliverable = { kind: "undeliverable"; code: string; message: string };

/** A session of the conversation, and the caller to authorise. */
export type SessionRequest = { sessionId: string; caller: Caller };

/** Messages of a session that were produced outside the gateway, by a voice pipeline. */
export type Transcript = SessionRequest & {
  /** The session in Postgres, for an object that no longer has it. */
  session: Session | null;
  messages: RecordedMessage[];
  /** Entries of this conversation that are in Postgres. */
  written?: WrittenEntries;
};

/** Starts a session without a message. */
export type StartSession = { session: Session; bundle: InstanceBundle };
export type SessionStarted = { kind: "started"; session: Session };

/** A session ended by request. Epoch milliseconds. */
export type Expired = { kind: "expired"; expiredAt: number };

/** Ends or erases a session. */
export type SessionCommand = SessionRequest & {
  /** The session in Postgres, for an object that no longer has it. */
  session: Session | null;
};
/** The session is erased and can't return. null when the object did not have it. */
export type Erased = { kind: "erased"; session: Session | null };

/** Selects rows of a session that may not be in Postgres yet. */
export type UnsavedRequest = SessionRequest & {
  /** Messages, one message, messages without content and metadata, or usage. */
  select: "messages" | { messageId: string } | "counts" | "usage";
  /** Only older messages. */
  before: Cursor | null;
  /** The newest so many messages, at most so many bytes of them as JSON (one at least). */
  limit: number;
  maxBytes: number;
};

/** The part of a session that may not be in Postgres yet. */
export type Unsaved = {
  session: Session;
  /** When it was ended by request. Epoch milliseconds. */
  endedAt: number | null;
  /** Newest first. */
  messages: Message[];
  /** Older ones of the `limit` were left out, because they are too many bytes. */
  isCut: boolean;
  usage: LedgerUsage[];
};

/** The object does not know the session; Postgres may. */
export type Unknown = { kind: "unknown" };

/** Webhook messages and statuses of one conversation, before any lookup. */
export type WebhookBatch = {
  /** What the address the batch comes to is made of. */
  kind: AddressKind;
  /** Oldest first. */
  messages: InboundMessage[];
  statuses: AddressedStatus[];
  /** Other addresses of this contact, from messages that carry several ids of it. */
  aliases: Alias[];
  via?: Via;
  traceId: string;
  /** Epoch milliseconds. */
  receivedAt: number;
};

/** A delivery status, and the addresses of the recipient it names: they are learnt where the status is known. */
export type AddressedStatus = DeliveryStatus & { aliases?: Alias[] };

/** Counts of new and duplicate messages, and the statuses that match no message of this conversation. */
export type Received = { accepted: number; duplicates: number; unmatched: AddressedStatus[] };

/** A request id, before any lookup. */
export type StatusQuery = {
  requestId: string;
  fingerprint: string;
  via?: Via;
  /** The instance named by the caller, if any. */
  instanceId: string | null;
};

/** The outcome of a request id and the conversation's brand; only callers of that brand may see it. */
export type RequestStatus = { kind: "status"; brandId: string; outcome: SubmitOutcome };

/** The addresses that have forwarded a call, in order; empty for a call that comes directly. */
export type Via = readonly string[];

/** A conversation that claims other addresses of its contact. `foundedAt` is null while it has no messages. */
export type PrimaryAddress = { address: string; foundedAt: number | null; kind: AddressKind };

/**
 * `joined`: the address forwards to the primary. `follow`: it forwards to another one, which is to be asked. `precedes`: its
 * own conversation takes precedence. `separate`: it has a conversation, and only an address without one was claimed.
 */
export type AliasOutcome =
  | { kind: "joined" }
  | { kind: "follow"; to: string }
  | { kind: "precedes" }
  | { kind: "separate" };

/** `follow`: the primary has no messages, and the number leads to a conversation that may have some. */
export type AssignOutcome = { kind: "joined" } | { kind: "follow"; to: string };

/** Methods of a conversation. The Durable Object implements them; its stub has the same shape. */
export type Conversation = {
  /** Admits a message and returns its answer. */
  submit(message: WireSubmission): Promise<SubmitOutcome>;
  /** Accepts a webhook batch. Every message is stored when this returns; nothing is looked up. */
  receive(arrival: WebhookBatch): Promise<Received>;
  /** Returns the outcome of a known request id without a lookup. */
  requestStatus(request: StatusQuery): Promise<RequestStatus | Unknown>;
  /** Forwards this address to `primary`, unless its own conversation takes precedence. */
  acceptAlias(
    primary: PrimaryAddress,
    claim: { kind: AddressKind | null; onlyUnfounded: boolean },
  ): Promise<AliasOutcome>;
  /** Forwards direct calls to this phone number's address to `primary`. */
  assignNumber(primary: PrimaryAddress): Promise<AssignOutcome>;
  /** Forwards direct calls to this phone number's address to a new conversation: its holder has left it. */
  releaseNumber(path: readonly string[]): Promise<void>;
  /** Returns which of these webhook messages were received here, or where this address forwards to. */
  knownMessages(ids: readonly string[], via?: Via): Promise<string[]>;
  /** Records messages outside a turn. Returns before they are in Postgres. */
  record(recording: Recording): Promise<RecordOutcome | Undeliverable>;
  /** Starts a session before its first message. A repeated call returns the session unchanged. */
  start(beginning: StartSession): Promise<SessionStarted | Refused>;
  /** Records a transcript in one of the conversation's sessions. Returns before it is in Postgres. */
  transcribe(transcript: Transcript): Promise<TranscribeOutcome>;
  /** Ends a session; the next message starts a new one. */
  expire(ending: SessionCommand): Promise<Expired | Unknown | Refused>;
  /** Erases a session and its pending turns; their callers are refused. */
  erase(ending: SessionCommand): Promise<Erased | Unknown | Refused>;
  /** Returns rows of a session that may not be in Postgres yet. */
  unsaved(request: UnsavedRequest): Promise<({ kind: "unsaved" } & Unsaved) | Unknown | Refused>;
  /** Entries that are not known to be in Postgres, oldest first, at most `maxBytes` of them (one at least). */
  pull(maxBytes: number): Promise<LedgerPull>;
  /** These entries are in Postgres (or in `dead_letters`). Returns how many are not known to be. */
  confirm(written: WrittenEntries): Promise<{ waiting: number }>;
};
