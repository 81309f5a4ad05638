import type { Answer } from "../../src/domain/submission.ts";

/** One request, and what came of it. */
export type Attempt = {
  /** The faults that were on when it left. */
  faults: readonly string[];
  /** null when nothing came back: it may have been done, and it may not. */
  status: number | null;
  /** The error table's code. */
  code: string | null;
  ms: number;
};

type Timed = {
  /** When it was first sent; epoch milliseconds, like all times here. */
  sentAt: number;
  /** When somebody was first told what became of it; null until then. */
  knownAt: number | null;
};

/** Something said for which an answer is waited for. Whatever is lost, it is sent again under the same id. */
export type Turn = Timed & {
  brandId: string;
  requestId: string;
  content: string;
  /** Every answer that told what became of it. */
  answers: Answer[];
  /** Postgres refuses it for what it says. */
  poison: boolean;
};

/** A message of a channel's webhook: acknowledged, and answered through the channel. */
export type Letter = Timed & { wamid: string; phone: string; content: string };

/** What was written down of a voice call. */
export type Transcript = Timed & {
  brandId: string;
  sessionId: string;
  messages: { role: string; content: string }[];
  /** The messages' ids, by every answer that named them. */
  answers: string[][];
};

export type Broadcast = Timed & {
  brandId: string;
  requestId: string;
  content: string;
  answers: { broadcast_id: string; results: { user_id: string; success: boolean; message_id?: string }[] }[];
};

/** What a client sees for itself, and no row could tell. */
export type Breach = { invariant: string; what: string };

/** All that the clients did and were told. */
export class Journal {
  readonly attempts: Attempt[] = [];
  readonly turns: Turn[] = [];
  readonly letters: Letter[] = [];
  readonly transcripts: Transcript[] = [];
  readonly broadcasts: Broadcast[] = [];
  readonly breaches: Breach[] = [];
  /** How often each invariant was looked at by a client. */
  readonly looks = new Map<string, number>();
  /** The faults that are on at this moment. */
  readonly faults = new Set<string>();

  look(invariant: string): void {
    this.looks.set(invariant, (this.looks.get(invariant) ?? 0) + 1);
  }

  breach(invariant: string, what: string): void {
    this.breaches.push({ invariant, what });
  }
}

/** Sent now; nothing is known yet. */
export const sentNow = (): Timed => ({ sentAt: Date.now(), knownAt: null });
