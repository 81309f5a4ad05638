import { EVENT } from "../../telemetry/events.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Orchestrator } from "./port.ts";

/** Development only: repeats the message, and logs a warning each time. */
export const mockOrchestrator = (log: Logger): Orchestrator =>
  async function* (adapter) {
    log.warn(EVENT.mockOrchestrator, {
      message:
        "DEPRECATED: this answer comes from the mock orchestrator. Set ORCHESTRATOR_URL; outside development this is a 502.",
      trace_id: adapter.trace_id,
    });
    const text = `You said: ${adapter.message.content}`;
    const prompt_tokens = Math.ceil(adapter.message.content.length / 4);
    yield { text };
    return { response: { text, token_usage: { prompt_tokens, completion_tokens: Math.ceil(text.length / 4) } } };
  };
