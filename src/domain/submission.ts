import type { Channel } from "./channel.ts";
import type { Refused } from "./errors.ts";
import type { InstanceBundle } from "./instance.ts";
import type { Session } from "./session.ts";
import type { User, AuthState } from "./user.ts";

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
  /** Set when the instance's rate is used up: then only somebody who asks again is answered. */
  exhausted?: { retryAfterMs: number };
  /** Epoch milliseconds at which the request reached us. */
  receivedAt: number;
};

/** A message as it travels: the bundle as JSON, since the object mostly has it already and need not read it again. */
export type WireSubmission = Omit<Submission, "bundle"> & { bundle: string };

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
  | { kind: "limited"; scope: "user" | "conversation" | "instance"; retryAfterMs: number }
  | Refused;
