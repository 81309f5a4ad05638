import { startOrchestrator } from "../support/orchestrator.ts";
import type { Behaviour } from "../support/orchestrator.ts";
import { replyOf } from "./audit/turns.ts";
import type { Control } from "./control.ts";
import type { OrchestratorRun } from "./evidence.ts";

export type RecordingOrchestrator = {
  url: string;
  runs: OrchestratorRun[];
  /** Answers every run with this behaviour until `stop` is called; `felt` counts the runs. */
  misbehave(behaviour: Behaviour): { felt: () => number; stop: () => void };
  close(): Promise<void>;
};

/** Largest random delay of a reply. */
const MAX_THOUGHT_MS = 40;

/**
 * An orchestrator that records every run: when it started, when the complete reply had been sent, and its usage. Each
 * run has its own text and usage, so that a stored reply identifies its run.
 */
export async function startRecordingOrchestrator(
  { reach }: Pick<Control, "reach">,
  random: () => number,
): Promise<RecordingOrchestrator> {
  const runs: OrchestratorRun[] = [];
  const standIn = await startOrchestrator();
  let fault: Behaviour | null = null;

  const answer = async (run: OrchestratorRun, response: Parameters<Behaviour>[1]): Promise<void> => {
    await new Promise((resolve) => setTimeout(resolve, random() * MAX_THOUGHT_MS));
    const { prompt: prompt_tokens, completion: completion_tokens } = run.usage;
    response.on("finish", () => {
      run.answeredAt = Date.now();
    });
    const body = { text: replyOf(run), token_usage: { prompt_tokens, completion_tokens } };
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  };

  standIn.behave(async (call, response) => {
    const { adapter, headers } = call;
    const number = runs.length + 1;
    const run: OrchestratorRun = {
      number,
      turnId: String(headers["idempotency-key"]),
      sessionId: adapter.session_id,
      brandId: adapter.routing.brand_id,
      content: adapter.message.content,
      arrivedAt: Date.now(),
      answeredAt: null,
      usage: { prompt: 1_000 + number, completion: 1 + ((number * 7) % 100) },
    };
    runs.push(run);
    await reach("during-orchestrator", run.sessionId);
    await (fault === null ? answer(run, response) : fault(call, response));
  });

  return {
    url: standIn.url,
    runs,
    misbehave: (behaviour) => {
      let felt = 0;
      fault = (call, response) => {
        felt += 1;
        return behaviour(call, response);
      };
      return {
        felt: () => felt,
        stop: () => {
          fault = null;
        },
      };
    },
    close: () => standIn.close(),
  };
}
