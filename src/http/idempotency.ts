import { AppError } from "../domain/errors.ts";
import type { ErrorDetails } from "../domain/errors.ts";
import type { AppContext } from "./context.ts";
import { wantsReplay } from "./request-ids.ts";

/** 409 with the outcome of the request that had this id. */
export const duplicate = (requestId: string, details: ErrorDetails): AppError =>
  new AppError("DUPLICATE_REQUEST", "This request id has been seen before", {
    details: { request_id: requestId, ...details },
  });

/**
 * Prepares the replay of a first answer: a request with the header `Idempotency-Key` gets the answer itself, marked as
 * replayed; any other is refused (409) with the answer inside.
 */
export function replay(c: AppContext, requestId: string, first: object): void {
  if (!asksForReplay(c)) {
    throw duplicate(requestId, { state: "completed", retry_after_ms: 0, cached_response: first });
  }
  c.header("Idempotency-Replayed", "true");
}

/** The id was used with another body: 409, or 422 for a request with the header `Idempotency-Key`. */
export function mismatch(c: AppContext, requestId: string): AppError {
  if (!asksForReplay(c)) return duplicate(requestId, { state: "payload_mismatch" });
  return new AppError("VALIDATION_ERROR", "This Idempotency-Key was used with another body", {
    status: 422,
    details: { fields: [{ field: "Idempotency-Key", message: "was used with another body" }] },
  });
}

const asksForReplay = (c: AppContext): boolean => wantsReplay((name) => c.req.header(name), c.var.body);
