import type { StatusQuery, RequestStatus, Unknown } from "../../../src/rpc/conversation.ts";
import type { TurnStore } from "../stores/turns.ts";
import type { SubmitOutcome } from "../../../src/domain/submission.ts";
import type { Stores } from "../stores.ts";

/** `retry_after_ms` for a request id that is running. */
export const RETRY_AFTER_MS = 1_000;

/** The outcome of a request id in this conversation. Changes nothing. */
export function requestStatus(
  { state, turns }: Pick<Stores, "state" | "turns">,
  { instanceId, requestId, fingerprint }: StatusQuery,
  { address, hasWaiter, now }: { address: string; hasWaiter: (turnId: string) => boolean; now: number },
): RequestStatus | Unknown {
  const session = state.get("session");
  if (session === null || (instanceId !== null && session.instanceId !== instanceId)) return { kind: "unknown" };
  const outcome = priorOutcome(turns.admission({ scope: address, requestId, fingerprint }, hasWaiter, now));
  return outcome === null ? { kind: "unknown" } : { kind: "status", brandId: session.brandId, outcome };
}

/** The outcome for a known request id; null when the caller may run the turn. */
export function priorOutcome(admission: ReturnType<TurnStore["admission"]>): SubmitOutcome | null {
  switch (admission.kind) {
    case "mismatch":
      return { kind: "mismatch" };
    case "in_progress":
      return { kind: "in_progress", retryAfterMs: RETRY_AFTER_MS };
    case "completed":
      // A webhook message without an answer was never a request.
      return admission.turn.answer === null
        ? { kind: "mismatch" }
        : { kind: "completed", answer: admission.turn.answer };
    default:
      return null;
  }
}
