import { AppError, unavailable } from "../domain/errors.ts";

/** Whether this is the database that can't be asked, or doesn't answer. */
export const isDatabaseUnavailable = (error: unknown): boolean =>
  error instanceof AppError && (error.code === "DATABASE_CONNECTION_ERROR" || error.code === "TIMEOUT_ERROR");

/**
 * For what can't be done without Postgres and has promised nothing yet: whoever asked should come back (503). A statement
 * that was given up on is then no more than one that never ran. Anything but its absence is thrown on as it is.
 */
export function toServiceUnavailable(error: unknown): never {
  throw isDatabaseUnavailable(error) ? unavailable("The database can't be reached", error) : error;
}
