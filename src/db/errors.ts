import { AppError } from "../domain/errors.ts";
import type { ErrorCode } from "../domain/errors.ts";

/** SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const UNIQUE_VIOLATION = "23505";
const QUERY_CANCELED = "57014";
const LOCK_NOT_AVAILABLE = "55P03";

/** A transaction that ended with one of these changed nothing: it was rolled back, or never got a connection. */
const ROLLED_BACK = ["40001", "40P01", LOCK_NOT_AVAILABLE, "57P01", "57P02", "57P03", "53300", "08001", "08004"];

/** Thrown inside the driver's request, so that it arrives as the `sourceError` of a `NeonDbError`. */
export class TooLargeError extends Error {
  override readonly name = "TooLargeError";
}

type DatabaseFailure = Error & { code?: unknown; sourceError?: unknown };

/** The driver's own error, however it was wrapped; null for any other: a bug must not look like an unavailable database. */
function failureIn(error: unknown): DatabaseFailure | null {
  for (let at = error; at instanceof Error; at = at.cause) if (at.name === "NeonDbError") return at;
  return null;
}

/** The SQLSTATE of an error of Postgres; null when the request didn't reach it or was refused before it. */
export function sqlState(error: unknown): string | null {
  const code = failureIn(error)?.code;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) ? code : null;
}

/** Whether the driver's request failed with an error of one of these names. */
const failedWith = ({ sourceError }: DatabaseFailure, ...names: string[]): boolean => {
  for (let at = sourceError; at instanceof Error; at = at.cause) if (names.includes(at.name)) return true;
  return false;
};

/** The error code for a client; null for an error that is not the database's. */
export function databaseErrorCode(error: unknown): ErrorCode | null {
  const failure = failureIn(error);
  if (failure === null) return null;
  const state = sqlState(failure);
  if (state === null) {
    if (isTooLarge(failure)) return "DATABASE_ERROR";
    return failedWith(failure, "TimeoutError", "AbortError") ? "TIMEOUT_ERROR" : "DATABASE_CONNECTION_ERROR";
  }
  if (state === UNIQUE_VIOLATION) return "DUPLICATE_KEY";
  if (state.startsWith("23")) return "DATABASE_CONSTRAINT_ERROR";
  if (state === QUERY_CANCELED || state === LOCK_NOT_AVAILABLE) return "TIMEOUT_ERROR";
  if (state.startsWith("08") || state.startsWith("57P") || state.startsWith("53")) return "DATABASE_CONNECTION_ERROR";
  return "DATABASE_ERROR";
}

/**
 * A refusal that names the kind of failure, without SQL, parameters or host. The original error is its `cause`, for the
 * log. An error that is not the database's is returned unchanged.
 */
export function databaseError(error: unknown): unknown {
  const code = error instanceof AppError ? null : databaseErrorCode(error);
  return code === null ? error : new AppError(code, "The database could not complete the request", { cause: error });
}

/**
 * Deadlock, lock timeout, serialization failure, no connection available: nothing was changed, so the transaction may be
 * sent again. A connection lost on the way is not among them: its transaction may have been committed.
 */
export const isSafeToRetry = (error: unknown): boolean => ROLLED_BACK.includes(sqlState(error) ?? "");

/** Postgres refused the content itself, its form (22, 23) or its size (54): the same statement will always be refused. */
export const isRefusedForContent = (error: unknown): boolean =>
  ["22", "23", "54"].includes(sqlState(error)?.slice(0, 2) ?? "");

/** The request was larger than the endpoint takes: fewer rows at once may pass. */
export function isTooLarge(error: unknown): boolean {
  const failure = failureIn(error);
  return failure !== null && failedWith(failure, "TooLargeError");
}
