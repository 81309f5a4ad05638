import type { Adapter } from "../../domain/adapter.ts";

/** A piece of the reply's text; in their order the pieces make up the text. */
export type Delta = { text: string };

/** The whole answer: any JSON, read by `readReply` and `extractUsage`. */
export type OrchestratorResult = { response: unknown };

/** `turnId` identifies repeated calls of one turn; `signal` stops the call. */
export type OrchestratorCall = { turnId: string; signal: AbortSignal };

/**
 * Requests the answer to one message. Yields the text as it arrives and returns the whole answer; an endpoint that does
 * not stream yields once. Throws when there is no answer.
 */
export type Orchestrator = (
  adapter: Adapter,
  call: OrchestratorCall,
) => AsyncGenerator<Delta, OrchestratorResult, void>;

/** Reads an answer to its end. `onDelta` receives the text meanwhile. */
export async function readToEnd(
  answer: ReturnType<Orchestrator>,
  onDelta: (delta: Delta) => void = () => undefined,
): Promise<OrchestratorResult> {
  for (;;) {
    const { done, value } = await answer.next();
    if (done) return value;
    onDelta(value);
  }
}
