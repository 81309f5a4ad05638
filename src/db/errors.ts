import { AppError } from "../domain/errors.ts";
import type { ErrorCode } from "../domain/errors.ts";

/** SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const UNIQUE_VIOLATION = "23505";
const QUERY_CANCELED = "57014";
const LOCK_NOT_AVAILABLE = "55P03";

/** A whole transaction that ended with one of these did nothing and may be sent again. */
const SAFE_TO_RETRY = new Set(["40001", "40P01", LOCK_NOT_AVAILABLE, "57P01", "57P02", "57P03", "53300"]);

/** The Postgres error's SQLSTATE, wherever the driver or Drizzle put it; null when Postgres said nothing. */
export function sqlState(error: unknown): string | null {
  for (let at = error; at instanceof Error; at = at.cause) {
    if ("code" in at && typeof at.code === "string" && /^[0-9A-Z]{5}$/.test(at.code)) return at.code;
  }
  return null;
}

const isTimeout = (error: unknown): boolean => {
  for (let at: unknown = error; at instanceof Error; at = "sourceError" in at ? at.sourceError : at.cause) {
    if (at.name === "TimeoutError" || at.name === "AbortError") return true;
  }
  return false;
};

/** The code a client is given for a database error. */
export function databaseErrorCode(error: unknown): ErrorCode {
  const state = sqlState(error);
  if (state === null) return isTimeout(error) ? "TIMEOUT_ERROR" : "DATABASE_CONNECTION_ERROR";
  if (state === UNIQUE_VIOLATION) return "DUPLICATE_KEY";
  if (state.startsWith("23")) return "DATABASE_CONSTRAINT_ERROR";
  if (state === QUERY_CANCELED || state === LOCK_NOT_AVAILABLE) return "TIMEOUT_ERROR";
  if (state.startsWith("08") || state.startsWith("57P") || state.startsWith("53")) return "DATABASE_CONNECTION_ERROR";
  return "DATABASE_ERROR";
}

/**
 * A refusal that says what kind of failure it was and nothing of SQL, parameters or host. What was caught stays its
 * `cause`, for the log.
 */
export const databaseError = (error: unknown): AppError =>
  error instanceof AppError
    ? error
    : new AppError(databaseErrorCode(error), "The database could not complete the request", { cause: error });

/** Deadlock, lock timeout, serialisation failure, connection refused or ended: nothing happened, so it may be sent again. */
export const isSafeToRetry = (error: unknown): boolean => {
  const state = sqlState(error);
  return state !== null && (SAFE_TO_RETRY.has(state) || state.startsWith("08"));
};

/** Postgres refused the content itself: the same statement will be refused for ever. */
export const isRefusedForContent = (error: unknown): boolean => {
  const state = sqlState(error);
  return state !== null && (state.startsWith("22") || state.startsWith("23"));
};
