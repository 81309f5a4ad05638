import type { Channel } from "../domain/channel.ts";
import type { DeliveryStatus } from "../domain/delivery.ts";
import type { Refused } from "../domain/errors.ts";
import type { ChannelIdentity, InboundMessage } from "../domain/inbound-message.ts";
import type { InstanceBundle, WhatsAppTemplate } from "../domain/instance.ts";
import type { LedgerPull, LedgerUsage } from "../domain/ledger.ts";
import type { Cursor } from "../domain/page.ts";
import type { Caller } from "../domain/principal.ts";
import type { Role } from "../domain/role.ts";
import type { Session } from "../domain/session.ts";
import type { WireSubmission, SubmitOutcome } from "../domain/submission.ts";
import type { Message } from "../domain/message.ts";

/** Words that are no turn: a transcript, a broadcast's message. Kept in the order they come, answered by nobody. */
export type Recording = {
  brandId: string;
  instanceId: string;
  userId: string;
  channel: Channel;
  /** The open session Postgres knows of; used only when the object has none. */
  openSession: Session | null;
  sessionTimeoutMs: number;
  messages: RecordedMessage[];
  /** Where these messages go out besides, in a conversation that goes through a channel. */
  outbound?: Outbound | null;
};

/** Who is written to through a channel, from where, and what is sent when only a template may be. */
export type Outbound = {
  person: ChannelIdentity;
  /** null when the business can't be written from. */
  phoneNumberId: string | null;
  template: WhatsAppTemplate | null;
};

/** An id that was recorded before changes nothing. */
export type RecordedMessage = {
  id: string;
  role: Role;
  content: string;
  /** When it was said, if the one who recorded it knows. Epoch milliseconds. */
  saidAt: number | null;
  requestId: string | null;
  traceId: string | null;
  metadata: Record<string, unknown>;
};

export type RecordOutcome = { kind: "recorded"; sessionId: string } | Refused;

/** Nothing can be sent to the user now, so the message was not recorded. `code` is a delivery error's: `WINDOW_CLOSED`. */
export type Undeliverable = { kind: "undeliverable"; code: string; message: string };

/** One of a conversation's sessions, and who asks about it. */
export type SessionRequest = { sessionId: string; caller: Caller };

/** What was said in a session and is written down by somebody else: a voice pipeline. */
export type Transcript = SessionRequest & {
  /** The session as Postgres knows it, for an object that has forgotten it. */
  session: Session | null;
  messages: RecordedMessage[];
};

/** A session that begins without a message. */
export type StartSession = { session: Session; bundle: InstanceBundle };
export type SessionStarted = { kind: "started"; session: Session };

/** A session that has been ended by hand. Epoch milliseconds. */
export type Expired = { kind: "expired"; expiredAt: number };

/** A session to be ended or forgotten. */
export type SessionCommand = SessionRequest & {
  /** As Postgres knows it, for an object that has forgotten it. */
  session: Session | null;
};
/** Nothing of it is here any more, and nothing comes back. null when that was so before. */
export type Erased = { kind: "erased"; session: Session | null };

/** What a session holds that Postgres may not know yet. */
export type Unsaved = {
  session: Session;
  /** Somebody has ended it. Epoch milliseconds. */
  endedAt: number | null;
  /** Newest first. */
  messages: Message[];
  usage: LedgerUsage[];
};

/** The object knows nothing of such a session: only Postgres can tell. */
export type Unknown = { kind: "unknown" };

/** What a webhook brought of one person: nothing is known of it but what it says itself. */
export type WebhookBatch = {
  /** In the order they were sent. */
  messages: InboundMessage[];
  /** Of what was sent to the person. */
  statuses: DeliveryStatus[];
  /** Other addresses of the same person, told by messages that name them by two ids. */
  aliases: string[];
  traceId: string;
  /** Epoch milliseconds. */
  receivedAt: number;
};

/** How many messages were new, and how many had come before; and news of what was never sent from here. */
export type Received = { accepted: number; duplicates: number; unmatched: DeliveryStatus[] };

/** A request id, before anything has been looked up. */
export type StatusQuery = {
  requestId: string;
  fingerprint: string;
  /** The instance the caller means, if they name one. */
  instanceId: string | null;
};

/** What has become of it, and whose conversation it is: for that brand's ears only. */
export type RequestStatus = { kind: "status"; brandId: string; outcome: SubmitOutcome };

/** `follow`: the conversation is at the other address, and the asker's own only passes on. */
export type AliasOutcome = { kind: "joined" } | { kind: "follow"; to: string };

/** What a conversation can be asked. The Durable Object implements it; its stub has the same shape. */
export type Conversation = {
  submit(message: WireSubmission): Promise<SubmitOutcome>;
  /** Takes in what a webhook brought. Every message is kept when this returns; nothing has been asked of anybody. */
  receive(arrival: WebhookBatch): Promise<Received>;
  /** What has become of a request id, told without anything that would have to be looked up. */
  requestStatus(request: StatusQuery): Promise<RequestStatus | Unknown>;
  /** From now on this address passes on to `main`, unless a conversation is here and none is there (`established`). */
  acceptAlias(main: string, established: boolean): Promise<AliasOutcome>;
  /** Keeps messages that are no turn. Nothing is waited for: they are in Postgres soon. */
  record(recording: Recording): Promise<RecordOutcome | Undeliverable>;
  /** A session begins at this address before anything is said; one that has begun goes on. */
  start(beginning: StartSession): Promise<SessionStarted | Refused>;
  /** Keeps what was said in one of its sessions, written down by somebody else. Nothing is waited for. */
  transcribe(transcript: Transcript): Promise<RecordOutcome | Unknown>;
  /** Ends a session: what is said next begins another. */
  expire(ending: SessionCommand): Promise<Expired | Unknown | Refused>;
  /** Forgets a session and what is in flight in it; whoever waits for an answer in it is refused one. */
  erase(ending: SessionCommand): Promise<Erased | Unknown | Refused>;
  /** The newest `limit` messages of a session, older than `before`, that are not known to be in Postgres. */
  unsaved(
    request: SessionRequest & { before: Cursor | null; limit: number },
  ): Promise<({ kind: "unsaved" } & Unsaved) | Unknown | Refused>;
  /** Entries that wait for Postgres, oldest first, at most `maxBytes` of them (one at least). */
  pull(maxBytes: number): Promise<LedgerPull>;
  /** Everything up to here is in Postgres (or in `dead_letters`). Tells whether more waits. */
  confirm(upTo: number): Promise<{ waiting: number }>;
};
