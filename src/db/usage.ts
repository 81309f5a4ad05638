import { and, eq, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { PgColumn } from "drizzle-orm/pg-core";
import type { Cursor } from "../domain/page.ts";
import type { UsageRecord } from "../domain/usage.ts";
import { build } from "./client.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { instanceConfigs } from "./schema/brands.ts";
import { sessions, sessionTokenUsage as usage } from "./schema/conversations.ts";
import { activeConfig, isNoneOf, isOwner, isSession, sessionColumns } from "./sessions.ts";
import type { Scope, StoredSession } from "./sessions.ts";
import { iso } from "./sql.ts";

/** Sums over turns. Money is USD, exact; null when no turn has a price. */
export type UsageSums = {
  turns: number;
  plannedTokens: number;
  sentTokens: number;
  receivedTokens: number;
  totalTokens: number;
  costUsd: string | null;
};

/** The sums of one template in a session. */
export type TemplateUsage = UsageSums & { templateKey: string; functionName: string };

/** A row of `session_token_usage`. `createdAt` is epoch milliseconds. */
export type StoredUsage = UsageRecord & { id: string; createdAt: number };

const sum = (column: PgColumn): SQL<number> => sql<number>`sum(${column})::float8`;

/** The usage of a brand's session by template, `except` not counted; null when the brand has no such session. */
export function usageByTemplate(
  scope: Scope,
  sessionId: string,
  except: readonly string[],
): Query<{ session: StoredSession; templates: TemplateUsage[] } | null> {
  const sums = build
    .select({
      templateKey: usage.templateKey,
      functionName: sql<string>`max(${usage.functionName})`.as("function_name"),
      turns: sql<number>`count(*)::int`.as("turns"),
      plannedTokens: sum(usage.plannedTokens).as("planned"),
      sentTokens: sum(usage.sentTokens).as("sent"),
      receivedTokens: sum(usage.receivedTokens).as("received"),
      totalTokens: sum(usage.totalTokens).as("total"),
      costUsd: sql<string | null>`trim_scale(sum(${usage.costUsd}))::text`.as("cost"),
    })
    .from(usage)
    .where(and(eq(usage.sessionId, sessions.id), isOwner(scope), isNoneOf(usage.id, except)))
    .groupBy(usage.templateKey)
    .as("sums");
  const { templateKey, functionName, turns, plannedTokens, sentTokens, receivedTokens, totalTokens, costUsd } = sums;
  return query(
    build
      .select({
        session: sessionColumns,
        template: { templateKey, functionName, turns, plannedTokens, sentTokens, receivedTokens, totalTokens, costUsd },
      })
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .leftJoinLateral(sums, sql`true`)
      .where(isSession(sessionId, scope))
      .orderBy(templateKey),
    (rows) => {
      const [first] = rows;
      if (first === undefined) return null;
      return { session: first.session, templates: rows.flatMap(({ template }) => template ?? []) };
    },
  );
}

export type UsageWindow = {
  /** null for all templates. */
  templateKey: string | null;
  /** Only later rows. */
  after: Cursor<string> | null;
  limit: number;
};

/** The rows themselves, in the order they were written. */
export function usageRecords(
  scope: Scope,
  sessionId: string,
  { templateKey, after, limit }: UsageWindow,
): Query<{ session: StoredSession; records: StoredUsage[] } | null> {
  const isLater =
    after === null
      ? undefined
      : sql`(${usage.createdAt}, ${usage.id}) > (${iso(after.at)}::timestamptz, ${after.tie}::uuid)`;
  const page = build
    .select(usageColumns)
    .from(usage)
    .where(
      and(
        eq(usage.sessionId, sessions.id),
        isOwner(scope),
        templateKey === null ? undefined : eq(usage.templateKey, templateKey),
        isLater,
      ),
    )
    .orderBy(usage.createdAt, usage.id)
    .limit(limit)
    .as("page");
  return query(
    build
      .select({
        session: sessionColumns,
        record: {
          id: page.id,
          createdAt: page.createdAt,
          templateKey: page.templateKey,
          functionName: page.functionName,
          plannedTokens: page.plannedTokens,
          sentTokens: page.sentTokens,
          receivedTokens: page.receivedTokens,
          totalTokens: page.totalTokens,
          llmModelId: page.llmModelId,
          inputPricePer1k: page.inputPricePer1k,
          outputPricePer1k: page.outputPricePer1k,
          costUsd: page.costUsd,
        },
      })
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .leftJoinLateral(page, sql`true`)
      .where(isSession(sessionId, scope))
      .orderBy(page.createdAt, page.id),
    (rows) => {
      const [first] = rows;
      if (first === undefined) return null;
      return { session: first.session, records: rows.flatMap(({ record }) => record ?? []) };
    },
  );
}

const usageColumns = {
  id: usage.id,
  createdAt: usage.createdAt,
  templateKey: usage.templateKey,
  functionName: usage.functionName,
  plannedTokens: usage.plannedTokens,
  sentTokens: usage.sentTokens,
  receivedTokens: usage.receivedTokens,
  totalTokens: usage.totalTokens,
  llmModelId: usage.llmModelId,
  inputPricePer1k: usage.inputPricePer1k,
  outputPricePer1k: usage.outputPricePer1k,
  costUsd: usage.costUsd,
};
