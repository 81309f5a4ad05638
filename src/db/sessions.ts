import { sql } from "drizzle-orm";
import type { Channel } from "../domain/channel.ts";
import type { Session } from "../domain/session.ts";
import type { TokenPlan } from "../domain/token.ts";
import type { Row } from "./client.ts";

/** A session as Postgres has it. Times are epoch milliseconds. */
export type StoredSession = Session & {
  address: string;
  /** null while nobody has ended it. */
  expiredAt: number | null;
  /** How long it may be quiet, if its instance says so. */
  timeoutMinutes: number | null;
  metadata: Record<string, unknown>;
};

/** Whose sessions a caller may see: the brand's, and of one person only if a person asks. */
export type Scope = { brandId: string; userId: string | null };

/** The columns `toStoredSession` reads, of a session `s`. */
export const sessionColumns = sql`s.id as session_id, s.brand_id, s.instance_id, s.user_id as owner_id, s.channel, s.address,
  (extract(epoch from s.started_at) * 1000)::float8 as started_at,
  (extract(epoch from s.last_message_at) * 1000)::float8 as last_message_at,
  (extract(epoch from s.last_assistant_message_at) * 1000)::float8 as last_assistant_message_at,
  (extract(epoch from s.expired_at) * 1000)::float8 as expired_at,
  s.token_plan_json, s.metadata_json as session_metadata,
  (select c.session_timeout_minutes from instance_configs c where c.instance_id = s.instance_id and c.is_active) as timeout_minutes`;

export const toStoredSession = (row: Row): StoredSession => ({
  id: row.session_id as string,
  brandId: row.brand_id as string,
  instanceId: row.instance_id as string,
  userId: row.owner_id as string,
  channel: row.channel as Channel,
  address: row.address as string,
  startedAt: row.started_at as number,
  lastMessageAt: row.last_message_at as number,
  lastAssistantMessageAt: row.last_assistant_message_at as number | null,
  tokenPlan: row.token_plan_json as TokenPlan | null,
  expiredAt: row.expired_at as number | null,
  timeoutMinutes: row.timeout_minutes as number | null,
  metadata: row.session_metadata as Record<string, unknown>,
});
