import { usageByTemplate, usageRecords } from "../db/usage.ts";
import type { StoredUsage, TemplateUsage, UsageSums } from "../db/usage.ts";
import type { Deps } from "../deps.ts";
import { invalid, notFound } from "../domain/errors.ts";
import type { LedgerUsage } from "../domain/ledger.ts";
import { addMoney } from "../domain/money.ts";
import { encodeCursor } from "../domain/page.ts";
import type { UsagePage } from "../domain/page.ts";
import type { Caller } from "../domain/principal.ts";
import { formatIso } from "../domain/time.ts";
import { authorize, conversationOf } from "../domain/authorization.ts";
import type { ReadyBundle } from "./instance.ts";
import { callerScope } from "./session.ts";
import { withUnsaved } from "./unsaved.ts";
import { buildTokenPlan } from "../domain/token-plan.ts";
import type { TokenPlan } from "../domain/token-plan.ts";
import { EVENT } from "../telemetry/events.ts";

/** Token usage of one turn. */
export type TurnUsage = StoredUsage;

export type UsageStats = {
  /** null before the session is planned. */
  plan: TokenPlan | null;
  totals: UsageSums;
  /** By template key. */
  templates: TemplateUsage[];
};

/**
 * Returns the token plan of a new session; null when the template set has no functions. Refuses (404) an instance without
 * a template set. Faults of the set are logged as warnings.
 */
export function planSession(
  { log, now }: Pick<Deps, "log" | "now">,
  { instance, config }: ReadyBundle,
): TokenPlan | null {
  if (config.templateSet === null) throw notFound("template_set", instance.id);
  if (Object.keys(config.templateSet.functions).length === 0) return null;
  const { plan, warnings } = buildTokenPlan(config.templateSet, formatIso(now()));
  for (const warning of warnings) log.warn(EVENT.tokenPlanIncomplete, { warning, instance_id: instance.id });
  return plan;
}

type ReadDeps = Pick<Deps, "read" | "conversation">;

/** Compares a session's token plan with its usage, including usage not in Postgres yet. Refuses like `history`. */
export async function usageStats(deps: ReadDeps, caller: Caller, sessionId: string): Promise<UsageStats> {
  const request = { sessionId, caller, select: "usage" } as const;
  const { saved, unsaved } = await withUnsaved(deps, request, ({ usage }) =>
    deps.read(
      usageByTemplate(
        callerScope(caller),
        sessionId,
        usage.map(({ id }) => id),
      ),
    ),
  );
  const session = unsaved?.session ?? saved?.session;
  if (session === undefined) throw notFound("conversation", sessionId);
  authorize(caller, "conversations:read", conversationOf(session));

  const templates = new Map((saved?.templates ?? []).map((usage) => [usage.templateKey, usage]));
  for (const usage of (unsaved?.usage ?? []).map(ofOneTurn)) {
    const { templateKey, functionName } = usage;
    templates.set(templateKey, { templateKey, functionName, ...sum(templates.get(templateKey) ?? NOTHING, usage) });
  }
  return {
    plan: session.tokenPlan ?? saved?.session.tokenPlan ?? null,
    totals: [...templates.values()].reduce<UsageSums>(sum, NOTHING),
    templates: [...templates.values()].toSorted((a, b) => (a.templateKey < b.templateKey ? -1 : 1)),
  };
}

/**
 * Returns the usage in Postgres of each turn of a session, in order, optionally of one template. Refuses like `history`,
 * and (400) an empty template key.
 */
export async function usageRecordsOf(
  deps: Pick<Deps, "read">,
  caller: Caller,
  sessionId: string,
  { limit, after, template_key }: UsagePage,
): Promise<{ records: TurnUsage[]; nextCursor: string | null }> {
  if (template_key?.trim() === "") throw invalid("template_key", "template_key is required");
  const window = { templateKey: template_key ?? null, after: after ?? null, limit: limit + 1 };
  const found = await deps.read(usageRecords(callerScope(caller), sessionId, window));
  if (found === null) throw notFound("conversation", sessionId);
  authorize(caller, "conversations:read", conversationOf(found.session));
  const records = found.records.slice(0, limit);
  const last = records.at(-1);
  const hasMore = found.records.length > limit && last !== undefined;
  return { records, nextCursor: hasMore ? encodeCursor({ at: last.createdAt, tie: last.id }) : null };
}

const NOTHING: UsageSums = {
  turns: 0,
  plannedTokens: 0,
  sentTokens: 0,
  receivedTokens: 0,
  totalTokens: 0,
  costUsd: null,
};

const ofOneTurn = (usage: LedgerUsage): TemplateUsage => ({ ...usage, turns: 1 });

/** Sums usage; an unknown cost adds nothing. */
const sum = (a: UsageSums, b: UsageSums): UsageSums => ({
  turns: a.turns + b.turns,
  plannedTokens: a.plannedTokens + b.plannedTokens,
  sentTokens: a.sentTokens + b.sentTokens,
  receivedTokens: a.receivedTokens + b.receivedTokens,
  totalTokens: a.totalTokens + b.totalTokens,
  costUsd: a.costUsd === null || b.costUsd === null ? (a.costUsd ?? b.costUsd) : addMoney(a.costUsd, b.costUsd),
});
