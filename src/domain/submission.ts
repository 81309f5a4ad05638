import type { Channel } from "./channel.ts";
import type { Refused } from "./errors.ts";
import type { InstanceBundle } from "./instance.ts";
import type { Session } from "./session.ts";
import type { User, AuthState } from "./user.ts";

/** A validated message for a conversation, with everything resolved that can be resolved outside the object. */
export type Submission = {
  requestId: string;
  traceId: string;
  channel: Channel;
  content: string;
  metadata: Record<string, unknown>;
  /** What was left out of the metadata or changed in it. */
  warnings?: string[];
  fingerprint: string;
  user: User;
  authState: AuthState;
  bundle: InstanceBundle;
  /** The user's open session in Postgres; used only when the object has none. */
  openSession: Session | null;
  /** Set when the instance's rate limit is exceeded: only duplicates of known requests are answered then. */
  exhausted?: { retryAfterMs: number };
  /** When the request was received. Epoch milliseconds. */
  receivedAt: number;
};

/** A submission as sent over RPC: the bundle is JSON text, which the object parses only when it has changed. */
export type WireSubmission = Omit<Submission, "bundle"> & { bundle: string };

/** The answer to the first caller, stored for duplicates. Field names are the API's. */
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
  /** What was left out or changed, by path; absent when nothing was. */
  warnings?: string[];
  timing_ms: { total: number; admission: number; orchestrator: number };
};

/** Every expected outcome; anything else is an exception and a bug. */
export type SubmitOutcome =
  | { kind: "answered"; answer: Answer }
  | { kind: "accepted"; sessionId: string; inboundMessageId: string }
  | { kind: "in_progress"; retryAfterMs: number }
  | { kind: "completed"; answer: Answer }
  | { kind: "mismatch" }
  | { kind: "limited"; scope: "user" | "conversation" | "instance"; retryAfterMs: number }
  | Refused;
