import { AppError } from "../domain/errors.ts";
import type { ErrorCode } from "../domain/errors.ts";

/** SQLSTATE classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html */
const UNIQUE_VIOLATION = "23505";
const QUERY_CANCELED = "57014";
const LOCK_NOT_AVAILABLE = "55P03";

/** A whole transaction that ended with one of these did nothing: it was taken back, or never got a connection. */
const DID_NOTHING = ["40001", "40P01", LOCK_NOT_AVAILABLE, "57P01", "57P02", "57P03", "53300", "08001", "08004"];

type DatabaseFailure = Error & { code?: unknown; sourceError?: unknown };

/** The driver's own error, however it was wrapped; null when it is none: a bug must not look like a database that is away. */
function failureIn(error: unknown): DatabaseFailure | null {
  for (let at = error; at instanceof Error; at = at.cause) if (at.name === "NeonDbError") return at;
  return null;
}

/** The Postgres error's SQLSTATE; null when Postgres said nothing. */
export function sqlState(error: unknown): string | null {
  const code = failureIn(error)?.code;
  return typeof code === "string" && /^[0-9A-Z]{5}$/.test(code) ? code : null;
}

const isTimeout = ({ sourceError }: DatabaseFailure): boolean => {
  for (let at = sourceError; at instanceof Error; at = at.cause) {
    if (at.name === "TimeoutError" || at.name === "AbortError") return true;
  }
  return false;
};

/** The code a client is given for a database error; null for what is none. */
export function databaseErrorCode(error: unknown): ErrorCode | null {
  const failure = failureIn(error);
  if (failure === null) return null;
  const state = sqlState(failure);
  if (state === null) return isTimeout(failure) ? "TIMEOUT_ERROR" : "DATABASE_CONNECTION_ERROR";
  if (state === UNIQUE_VIOLATION) return "DUPLICATE_KEY";
  if (state.startsWith("23")) return "DATABASE_CONSTRAINT_ERROR";
  if (state === QUERY_CANCELED || state === LOCK_NOT_AVAILABLE) return "TIMEOUT_ERROR";
  if (state.startsWith("08") || state.startsWith("57P") || state.startsWith("53")) return "DATABASE_CONNECTION_ERROR";
  return "DATABASE_ERROR";
}

/**
 * A refusal that says what kind of failure it was and nothing of SQL, parameters or host. What was caught stays its
 * `cause`, for the log. Anything but the database's error is given back as it is.
 */
export function databaseError(error: unknown): unknown {
  const code = error instanceof AppError ? null : databaseErrorCode(error);
  return code === null ? error : new AppError(code, "The database could not complete the request", { cause: error });
}

/**
 * Deadlock, lock timeout, serialisation failure, no connection to be had: nothing happened, so it may be sent again. A
 * connection lost on the way is not among them: its transaction may have been committed.
 */
export const isSafeToRetry = (error: unknown): boolean => DID_NOTHING.includes(sqlState(error) ?? "");

/** Postgres refused the content itself, its form (22, 23) or its size (54): the same statement will be refused for ever. */
export const isRefusedForContent = (error: unknown): boolean =>
  ["22", "23", "54"].includes(sqlState(error)?.slice(0, 2) ?? "");
