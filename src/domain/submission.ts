import { z } from "zod";
import type { Channel } from "./channel.ts";
import type { Refused } from "./errors.ts";
import { Uuid } from "./ids.ts";
import { Warnings } from "./message.ts";
import type { InstanceBundle } from "./instance.ts";
import type { StoredEntry, WrittenEntries } from "./ledger.ts";
import type { Session } from "./session.ts";
import type { User, AuthState } from "./user.ts";

/** A validated message for a conversation, with everything resolved that can be resolved outside the object. */
export type Submission = {
  requestId: string;
  traceId: string;
  channel: Channel;
  content: string;
  metadata: Record<string, unknown>;
  /** Changes of the metadata, by path; told with the answer. */
  warnings?: string[];
  /** The channel's id of the quoted message. */
  replyTo?: string | null;
  fingerprint: string;
  user: User;
  authState: AuthState;
  bundle: InstanceBundle;
  /** The user's open session in Postgres; used only when the object has none. */
  openSession: Session | null;
  /** Set when the instance's rate limit is exceeded: only duplicates of known requests are answered then. */
  exhausted?: { retryAfterMs: number };
  /** Entries of this conversation that are in Postgres. */
  written?: WrittenEntries;
  /** When the request was received. Epoch milliseconds. */
  receivedAt: number;
};

/** A submission as sent over RPC: the bundle is JSON text, which the object parses only when it has changed. `via` are the addresses that forwarded it. */
export type WireSubmission = Omit<Submission, "bundle"> & { bundle: string; via?: readonly string[] };

/** The answer to the first caller, stored for duplicates. Field names are the API's. */
export const Answer = z.object({
  request_id: z.string(),
  session_id: Uuid,
  user_id: Uuid,
  is_guest: z.boolean(),
  inbound_message_id: Uuid,
  message_id: Uuid,
  text: z.string().meta({ description: "The reply" }),
  token_usage: z.object({
    prompt_in: z.int(),
    completion_out: z.int(),
    total: z.int(),
    cost_usd: z.string().nullable().meta({ description: "Decimal string; null when the model has no price" }),
  }),
  fallback: z.boolean().meta({ description: "True when the text is the instance's default reply" }),
  warnings: Warnings,
  timing_ms: z.object({ total: z.number(), admission: z.number(), orchestrator: z.number() }),
});
export type Answer = z.infer<typeof Answer>;

/** Every expected outcome; anything else is an exception and a bug. */
export type SubmitOutcome =
  | {
      kind: "answered";
      answer: Answer;
      /** The turn's ledger entry, for the caller to carry to the ledger; left out when the conversation announces it. */
      entry?: StoredEntry;
    }
  | { kind: "accepted"; sessionId: string; inboundMessageId: string }
  | { kind: "in_progress"; retryAfterMs: number }
  | { kind: "completed"; answer: Answer }
  | { kind: "mismatch" }
  | { kind: "limited"; scope: "user" | "conversation" | "instance"; retryAfterMs: number }
  | Refused;
