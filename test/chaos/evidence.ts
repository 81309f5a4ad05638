import type { TestDatabase } from "../support/database.ts";
import type { GraphCall } from "../support/graph-api.ts";
import type { Breach, Journal } from "./journal.ts";

/** One run of a turn as recorded by the orchestrator's stand-in. */
export type OrchestratorRun = {
  /** The run's number, which is part of its reply. */
  number: number;
  turnId: string;
  sessionId: string;
  brandId: string;
  content: string;
  arrivedAt: number;
  /** When a complete valid reply had been sent; null without one. */
  answeredAt: number | null;
  usage: { prompt: number; completion: number };
};

/** One object (or all) lost its memory, so its turns run again. */
export type Interruption = { at: number; address: string | null };

export type MessageRow = {
  id: string;
  brandId: string;
  sessionId: string;
  turnId: string | null;
  role: string;
  content: string;
  seq: number;
  createdAt: number;
  requestId: string | null;
  channelMessageId: string | null;
  fallback: boolean;
  delivery: string | null;
};
export type SessionRow = { id: string; brandId: string; instanceBrandId: string; userBrandId: string; userId: string };
export type UsageRow = { turnId: string; brandId: string; sessionId: string; sent: number; received: number };
export type LockRow = { key: string; brandId: string; sessionId: string; turnId: string; messageId: string | null };
export type DeadLetterRow = { id: string; brandId: string | null; reason: string; payload: string };
export type RecipientRow = { broadcastId: string; brandId: string; userId: string; messageId: string; state: string };

/** Rows in Postgres. */
export type Rows = {
  messages: MessageRow[];
  sessions: SessionRow[];
  usage: UsageRow[];
  locks: LockRow[];
  deadLetters: DeadLetterRow[];
  recipients: RecipientRow[];
};

/** Input of an audit: requests, answers and rows. */
export type Evidence = Pick<Journal, "turns" | "webhookMessages" | "transcripts" | "broadcasts" | "looks"> & {
  breaches: readonly Breach[];
  runs: readonly OrchestratorRun[];
  sends: readonly Pick<GraphCall, "body" | "id">[];
  interruptions: readonly Interruption[];
  /** After this time another run of the same turn may replace a run. */
  leaseMs: number;
  /** Default replies of the instances. */
  defaultReplies: readonly string[];
  rows: Rows;
};

/** Reads Postgres directly, not through the service. */
export async function readRows({ query }: Pick<TestDatabase, "query">): Promise<Rows> {
  const read = async <T>(sql: string): Promise<T[]> =>
    (await query(`select to_json(r) as row from (${sql}) r`)).map(({ row }) => JSON.parse(row ?? "null") as T);
  const [messages, sessions, usage, locks, deadLetters, recipients] = await Promise.all([
    read<MessageRow>(`
      select id, brand_id as "brandId", session_id as "sessionId", turn_id as "turnId", role, content, seq,
        extract(epoch from created_at) * 1000 as "createdAt", request_id as "requestId",
        channel_message_id as "channelMessageId", coalesce((metadata_json ->> 'fallback')::boolean, false) as fallback,
        metadata_json -> 'delivery' ->> 'state' as delivery
      from messages order by session_id, seq`),
    read<SessionRow>(`
      select s.id, s.brand_id as "brandId", i.brand_id as "instanceBrandId", u.brand_id as "userBrandId", s.user_id as "userId"
      from sessions s join instances i on i.id = s.instance_id join users u on u.id = s.user_id`),
    read<UsageRow>(`
      select turn_id as "turnId", brand_id as "brandId", session_id as "sessionId", sent_tokens as sent,
        received_tokens as received from session_token_usage`),
    read<LockRow>(`
      select request_id as key, brand_id as "brandId", session_id as "sessionId", turn_id as "turnId",
        metadata_json -> 'cached_response' ->> 'message_id' as "messageId" from idempotency_locks`),
    read<DeadLetterRow>(`select id, brand_id as "brandId", reason, payload_json::text as payload from dead_letters`),
    read<RecipientRow>(`
      select broadcast_id as "broadcastId", brand_id as "brandId", user_id as "userId", message_id as "messageId", state
      from broadcast_recipients`),
  ]);
  return { messages, sessions, usage, locks, deadLetters, recipients };
}
