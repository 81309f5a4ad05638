import type { Answer } from "../../src/domain/submission.ts";

/** One request and its outcome. */
export type Attempt = {
  /** Faults that were active when it was sent. */
  faults: readonly string[];
  /** null without a response: the request may or may not have been processed. */
  status: number | null;
  /** The error table's code. */
  code: string | null;
  ms: number;
};

type Timed = {
  /** When it was first sent. Epoch milliseconds, like all times here. */
  sentAt: number;
  /** When its outcome was first reported; null until then. */
  knownAt: number | null;
};

/** A message whose answer is awaited; it is sent again with the same id until it is answered. */
export type Turn = Timed & {
  brandId: string;
  requestId: string;
  content: string;
  /** Every answer to it. */
  answers: Answer[];
  /** Postgres refuses its content. */
  poison: boolean;
};

/** A message of a channel's webhook: acknowledged, and answered through the channel. */
export type WebhookMessage = Timed & { wamid: string; phone: string; content: string };

/** The texts of the channel's own notices about a user, which nobody sends. */
export const NOTICES: readonly string[] = ["changed", "[user_id_update]"];

/** A transcript of a voice call. */
export type Transcript = Timed & {
  brandId: string;
  sessionId: string;
  messages: { role: string; content: string }[];
  /** The messages' ids in every answer. */
  answers: string[][];
};

export type Broadcast = Timed & {
  brandId: string;
  requestId: string;
  content: string;
  answers: { broadcast_id: string; results: { user_id: string; success: boolean; message_id?: string }[] }[];
};

/** A violation seen by a client, which no row shows. */
export type Breach = { invariant: string; what: string };

/** Requests of all clients and their answers. */
export class Journal {
  readonly attempts: Attempt[] = [];
  readonly turns: Turn[] = [];
  readonly webhookMessages: WebhookMessage[] = [];
  readonly transcripts: Transcript[] = [];
  readonly broadcasts: Broadcast[] = [];
  readonly breaches: Breach[] = [];
  /** How often clients checked each invariant. */
  readonly looks = new Map<string, number>();
  /** Faults that are active now. */
  readonly faults = new Set<string>();

  look(invariant: string): void {
    this.looks.set(invariant, (this.looks.get(invariant) ?? 0) + 1);
  }

  breach(invariant: string, what: string): void {
    this.breaches.push({ invariant, what });
  }
}

/** Sent now; the outcome is unknown. */
export const sentNow = (): Timed => ({ sentAt: Date.now(), knownAt: null });
