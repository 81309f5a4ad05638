import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Cursor } from "../domain/page.ts";
import type { UsageRecord } from "../domain/usage.ts";
import type { Row } from "./client.ts";
import type { Query } from "./reader.ts";
import { sessionColumns, toStoredSession } from "./sessions.ts";
import type { Scope, StoredSession } from "./sessions.ts";
import { ids, iso } from "./sql.ts";

/** What some turns took. Money is USD, exact; null when nothing of it has a price. */
export type UsageSums = {
  turns: number;
  plannedTokens: number;
  sentTokens: number;
  receivedTokens: number;
  totalTokens: number;
  costUsd: string | null;
};

/** What one template took in a session. */
export type TemplateUsage = UsageSums & { templateKey: string; functionName: string };

/** A row of the ledger of tokens. `createdAt` is epoch milliseconds. */
export type StoredUsage = UsageRecord & { id: string; createdAt: number };

/** What a brand's session took, by template, `except` not counted; null when the brand has no such session. */
export const usageByTemplate = (
  scope: Scope,
  sessionId: string,
  except: readonly string[],
): Query<{ session: StoredSession; templates: TemplateUsage[] } | null> => ({
  statement: sql`
    select ${sessionColumns}, u.*
    from sessions s
    left join lateral (
      select u.template_key, max(u.function_name) as function_name, count(*)::int as turns,
        sum(u.planned_tokens)::float8 as planned, sum(u.sent_tokens)::float8 as sent,
        sum(u.received_tokens)::float8 as received, sum(u.total_tokens)::float8 as total,
        trim_scale(sum(u.cost_usd))::text as cost
      from session_token_usage u
      where ${ofSession(scope, except)}
      group by u.template_key
    ) u on true
    where s.id = ${sessionId} and s.brand_id = ${scope.brandId}
    order by u.template_key`,
  read: (rows) => {
    const [first] = rows;
    if (first === undefined) return null;
    return {
      session: toStoredSession(first),
      templates: rows.filter(({ template_key }) => template_key !== null).map(toTemplateUsage),
    };
  },
});

export type UsageWindow = {
  /** null for all of them. */
  templateKey: string | null;
  /** Only what came later. */
  after: Cursor<string> | null;
  limit: number;
};

/** The rows themselves, in the order they were written. */
export const usageRecords = (
  scope: Scope,
  sessionId: string,
  { templateKey, after, limit }: UsageWindow,
): Query<{ session: StoredSession; records: StoredUsage[] } | null> => ({
  statement: sql`
    select ${sessionColumns}, u.*
    from sessions s
    left join lateral (
      select u.id, u.template_key, u.function_name, u.planned_tokens, u.sent_tokens, u.received_tokens, u.total_tokens,
        u.llm_model_id, u.input_price_per_1k::text, u.output_price_per_1k::text, u.cost_usd::text as cost,
        (extract(epoch from u.created_at) * 1000)::float8 as recorded_at
      from session_token_usage u
      where ${ofSession(scope, [])} ${templateKey === null ? sql`` : sql`and u.template_key = ${templateKey}`}
        ${after === null ? sql`` : sql`and (u.created_at, u.id) > (${iso(after.at)}::timestamptz, ${after.tie}::uuid)`}
      order by u.created_at, u.id
      limit ${limit}
    ) u on true
    where s.id = ${sessionId} and s.brand_id = ${scope.brandId}
    order by u.recorded_at, u.id`,
  read: (rows) => {
    const [first] = rows;
    if (first === undefined) return null;
    return { session: toStoredSession(first), records: rows.filter(({ id }) => id !== null).map(toStoredUsage) };
  },
});

const ofSession = ({ userId }: Scope, except: readonly string[]): SQL => sql`
  u.session_id = s.id and (${userId}::uuid is null or s.user_id = ${userId}::uuid)
  ${except.length === 0 ? sql`` : sql`and u.id not in (${ids(except)})`}`;

const toTemplateUsage = (row: Row): TemplateUsage => ({
  templateKey: row.template_key as string,
  functionName: row.function_name as string,
  turns: row.turns as number,
  plannedTokens: row.planned as number,
  sentTokens: row.sent as number,
  receivedTokens: row.received as number,
  totalTokens: row.total as number,
  costUsd: row.cost as string | null,
});

const toStoredUsage = (row: Row): StoredUsage => ({
  id: row.id as string,
  createdAt: row.recorded_at as number,
  templateKey: row.template_key as string,
  functionName: row.function_name as string,
  plannedTokens: row.planned_tokens as number,
  sentTokens: row.sent_tokens as number,
  receivedTokens: row.received_tokens as number,
  totalTokens: row.total_tokens as number,
  llmModelId: row.llm_model_id as string | null,
  inputPricePer1k: row.input_price_per_1k as string | null,
  outputPricePer1k: row.output_price_per_1k as string | null,
  costUsd: row.cost as string | null,
});
