import type { Channel } from "./channel.ts";
import type { ErrorDetails, ErrorCode } from "./errors.ts";
import type { InstanceBundle } from "./instance.ts";
import type { LedgerPull, LedgerUsage, Message } from "./ledger.ts";
import type { Cursor } from "./page.ts";
import type { Caller } from "./principal.ts";
import type { Role } from "./role.ts";
import type { Session } from "./session.ts";
import type { User } from "./user.ts";

/** How the speaker was recognised; it decides what the model may do for them. */
export type AuthState = "anonymous" | "guest" | "identified" | "authenticated";

/** A message on its way into its conversation: checked, cleaned, with everything known that can be known outside. */
export type Submission = {
  requestId: string;
  traceId: string;
  channel: Channel;
  content: string;
  metadata: Record<string, unknown>;
  fingerprint: string;
  user: User;
  authState: AuthState;
  bundle: InstanceBundle;
  /** The open session Postgres knows of; used only when the object has none. */
  openSession: Session | null;
  /** Epoch milliseconds at which the request reached us. */
  receivedAt: number;
};

/** What the first caller was told, kept for those who ask again. Field names are the API's. */
export type Answer = {
  request_id: string;
  session_id: string;
  user_id: string;
  is_guest: boolean;
  inbound_message_id: string;
  message_id: string;
  text: string;
  token_usage: { prompt_in: number; completion_out: number; total: number; cost_usd: string | null };
  fallback: boolean;
  timing_ms: { total: number; admission: number; orchestrator: number };
};

/** Everything a caller can expect; anything else is an exception and a bug. */
export type SubmitOutcome =
  | { kind: "answered"; answer: Answer }
  | { kind: "accepted"; sessionId: string; inboundMessageId: string }
  | { kind: "in_progress"; retryAfterMs: number }
  | { kind: "completed"; answer: Answer }
  | { kind: "mismatch" }
  | { kind: "limited"; scope: "user" | "conversation"; retryAfterMs: number }
  | Refused;

/** A refusal of the error table, as a value. */
export type Refused = { kind: "refused"; code: ErrorCode; message: string; details: ErrorDetails };

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

/** One of a conversation's sessions, and who asks about it. */
export type SessionRequest = { sessionId: string; caller: Caller };

/** What was said in a session and is written down by somebody else: a voice pipeline. */
export type Transcript = SessionRequest & {
  /** The session as Postgres knows it, for an object that has forgotten it. */
  session: Session | null;
  messages: RecordedMessage[];
};

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

/** What a conversation can be asked. The Durable Object implements it; its stub has the same shape. */
export type Conversation = {
  submit(message: Submission): Promise<SubmitOutcome>;
  /** Keeps messages that are no turn. Nothing is waited for: they are in Postgres soon. */
  record(recording: Recording): Promise<RecordOutcome>;
  /** The newest `limit` messages of a session, older than `before`, that are not known to be in Postgres. */
  unsaved(
    request: SessionRequest & { before: Cursor | null; limit: number },
  ): Promise<({ kind: "unsaved" } & Unsaved) | Unknown | Refused>;
  /** Entries that wait for Postgres, oldest first, at most `maxBytes` of them (one at least). */
  pull(maxBytes: number): Promise<LedgerPull>;
  /** Everything up to here is in Postgres (or in `dead_letters`). Tells whether more waits. */
  confirm(upTo: number): Promise<{ waiting: number }>;
};
