import { readToEnd } from "../../../src/clients/orchestrator/port.ts";
import type { Orchestrator } from "../../../src/clients/orchestrator/port.ts";
import { buildAdapter, primaryFunction } from "../../../src/domain/adapter.ts";
import type { Adapter, AdapterInput } from "../../../src/domain/adapter.ts";
import { MAX_CONTENT } from "../../../src/domain/message.ts";
import { readReply } from "../../../src/domain/reply.ts";
import { extractUsage } from "../../../src/domain/reported-usage.ts";
import { usageRecord } from "../../../src/domain/usage.ts";
import type { UsageRecord } from "../../../src/domain/usage.ts";
import { isGivenUp } from "../../../src/domain/turn.ts";
import type { Logger } from "../../../src/telemetry/logger.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import type { TokenPlan } from "../../../src/domain/token-plan.ts";
import { EVENT } from "../../../src/telemetry/events.ts";

/** The outcome of a run, before it is settled. */
export type TurnResult = {
  text: string;
  /** True when the text is the instance's default reply: the orchestrator failed, timed out or returned no text. */
  fallback: boolean;
  tokenUsage: Answer["token_usage"];
  /** null when no usage was reported, which is not a usage of 0. */
  usage: UsageRecord | null;
  /** null only when the turn was given up before the session had a plan. */
  tokenPlan: TokenPlan | null;
  /** Changes of the text that the caller is told, by path. */
  warnings: string[];
  /** `orchestrator_response`, for the reply's metadata. */
  metadata: Record<string, unknown>;
  orchestratorMs: number;
};

type Run = {
  /** `fence` counts the runs that were started. */
  turn: { turnId: string; fence: number };
  adapter: AdapterInput;
  signal: AbortSignal;
};

const NO_USAGE: Answer["token_usage"] = { prompt_in: 0, completion_out: 0, total: 0, cost_usd: null };

/**
 * Runs a turn once: builds the adapter, calls the orchestrator, reads its answer and usage. A failed call gives the
 * instance's default reply.
 */
export async function answerTurn(
  deps: { orchestrator: Orchestrator; log: Logger; now: () => number },
  { turn, adapter: input, signal }: Run,
): Promise<TurnResult> {
  const { config } = input.bundle;
  if (config === null) throw new Error("A turn was admitted without a configuration");
  const log = deps.log.with({ trace_id: input.traceId, turn_id: turn.turnId, session_id: input.session.id });
  const nothing = { tokenUsage: NO_USAGE, usage: null, metadata: {}, warnings: [] };
  const fallback = { ...nothing, text: config.defaultReply, fallback: true };
  if (isGivenUp(turn)) {
    // Decided first: anything below may have ended the earlier runs.
    log.error(EVENT.turnAbandoned, { runs: turn.fence });
    return { ...fallback, tokenPlan: input.session.tokenPlan, orchestratorMs: 0 };
  }
  const { adapter, warnings } = buildAdapter(input);
  for (const warning of warnings) log.warn(EVENT.tokenPlanIncomplete, { warning });

  const startedAt = deps.now();
  const response = await ask(deps.orchestrator, adapter, turn.turnId, signal, log);
  const run = { tokenPlan: adapter.token_plan, orchestratorMs: deps.now() - startedAt };
  if (response === undefined) return { ...fallback, ...run };

  const reply = readReply(response, config.defaultReply);
  for (const warning of reply.warnings) log.warn(EVENT.orchestratorReplyInvalid, { warning });
  const counted = usageOf(response, adapter, input, log);
  const { text, isDefault, metadata } = reply;
  const told = metadata.truncated === true ? [`text: cut to ${MAX_CONTENT} characters`] : [];
  return { ...run, ...counted, text, fallback: isDefault, metadata, warnings: told };
}

/** The orchestrator's answer; undefined when the call failed, which is logged. */
async function ask(
  orchestrator: Orchestrator,
  adapter: Adapter,
  turnId: string,
  signal: AbortSignal,
  log: Logger,
): Promise<unknown> {
  try {
    return (await readToEnd(orchestrator(adapter, { turnId, signal }))).response;
  } catch (error) {
    return log.error(EVENT.orchestratorFailed, { error });
  }
}

function usageOf(
  response: unknown,
  adapter: Adapter,
  input: AdapterInput,
  log: Logger,
): Pick<TurnResult, "usage" | "tokenUsage"> {
  const { usage, warnings } = extractUsage(response);
  for (const warning of warnings) log.warn(EVENT.usageInvalid, { warning });
  const templateSet = input.bundle.config?.templateSet;
  if (usage === null || !templateSet) return { usage: null, tokenUsage: NO_USAGE };
  const { name, template } = primaryFunction(templateSet);
  const { record, warnings: amended } = usageRecord({
    templateKey: template.templateKey,
    functionName: name,
    plannedTokens: adapter.token_plan.templates[template.templateKey]?.total_budget ?? 0,
    usage,
    model: template.llmModel,
  });
  for (const warning of amended) log.warn(EVENT.usageInvalid, { warning });
  return { usage: record, tokenUsage: { ...usage, cost_usd: record.costUsd } };
}
