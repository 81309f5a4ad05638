import { AppError } from "../domain/errors.ts";
import type { ErrorDetails } from "../domain/errors.ts";
import type { AppContext } from "./context.ts";
import { wantsReplay } from "./request-ids.ts";

/** 409: what has become of the request with this id. */
export const duplicate = (requestId: string, details: ErrorDetails): AppError =>
  new AppError("DUPLICATE_REQUEST", "This request id has been seen before", {
    details: { request_id: requestId, ...details },
  });

/**
 * Before a first answer is given again: who asked for the convention of `Idempotency-Key` gets it as it was, marked as
 * replayed. Everybody else is refused (409) with the answer inside.
 */
export function replay(c: AppContext, requestId: string, first: object): void {
  if (!asksForReplay(c)) {
    throw duplicate(requestId, { state: "completed", retry_after_ms: 0, cached_response: first });
  }
  c.header("Idempotency-Replayed", "true");
}

/** The id has been seen with another body: 409, and 422 by the convention of `Idempotency-Key`. */
export function mismatch(c: AppContext, requestId: string): AppError {
  if (!asksForReplay(c)) return duplicate(requestId, { state: "payload_mismatch" });
  return new AppError("VALIDATION_ERROR", "This Idempotency-Key was used with another body", {
    status: 422,
    details: { fields: [{ field: "Idempotency-Key", message: "was used with another body" }] },
  });
}

const asksForReplay = (c: AppContext): boolean => wantsReplay((name) => c.req.header(name), c.var.body);
