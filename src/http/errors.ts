import type { ErrorHandler } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { ConfigError } from "../config.ts";
import { databaseError } from "../db/errors.ts";
import { AppError, isDatabaseUnavailable, unavailable } from "../domain/errors.ts";
import type { AppContext, AppEnv } from "./context.ts";
import { addLogFields } from "./context.ts";

/** The error envelope. `details.retry_after_ms` is repeated as the header `Retry-After`. */
export function errorResponse(c: AppContext, error: AppError): Response {
  addLogFields(c, { error_code: error.code });
  const retryAfterMs = error.details.retry_after_ms;
  if (typeof retryAfterMs === "number" && retryAfterMs > 0)
    c.header("Retry-After", String(Math.ceil(retryAfterMs / 1000)));
  // https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
  if (error.status === 401) c.header("WWW-Authenticate", "Bearer");
  const { code, message, details } = error;
  const body = { success: false, error: { code, message, details }, trace_id: c.var.traceId };
  return c.json(body, error.status as ContentfulStatusCode);
}

/** Answers with the error's own code. Anything but an `AppError` is a bug: logged in full, answered with a generic sentence. */
export const onError: ErrorHandler<AppEnv> = (thrown, c) => {
  const error = toAppError(thrown);
  if (error.status >= 500) addLogFields(c, { error: thrown });
  return errorResponse(c, error);
};

/**
 * The one place where an unreachable Postgres or object becomes a 503. A handler that has already accepted the caller's
 * work must answer with what it accepted instead of throwing.
 */
function toAppError(thrown: unknown): AppError {
  if (thrown instanceof ConfigError) {
    return unavailable("The service is not configured", thrown);
  }
  if (isObjectUnavailable(thrown)) return unavailable("The conversation can't be reached", thrown);
  const known = databaseError(thrown);
  if (isDatabaseUnavailable(known)) return unavailable("The database can't be reached", thrown);
  return known instanceof AppError ? known : new AppError("INTERNAL_ERROR", "Something went wrong", { cause: thrown });
}

/**
 * Whether the platform could not reach an object, or lost it during the call. The runtime has already retried what is
 * retryable; the caller may retry with the same request id.
 * https://developers.cloudflare.com/durable-objects/best-practices/error-handling/ and automatic-retries/ beside it
 */
function isObjectUnavailable(thrown: unknown): boolean {
  if (!(thrown instanceof Error)) return false;
  const { overloaded, retryable, durableObjectReset } = thrown as PlatformError;
  const isMarked = overloaded === true || retryable === true || durableObjectReset === true;
  return isMarked || /^Network connection lost|Durable Object.* reset/.test(thrown.message);
}

type PlatformError = Error & { overloaded?: unknown; retryable?: unknown; durableObjectReset?: unknown };
