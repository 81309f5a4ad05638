import { z } from "zod";
import { AppError } from "../domain/errors.ts";
import { newTraceId, SAFE_ID } from "../domain/ids.ts";

/** `00-<trace id>-<parent id>-<flags>`, https://www.w3.org/TR/trace-context/ */
const TRACEPARENT = /^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}/;

/** The body's field in a schema; `requireRequestId`, which also reads the headers, checks it. */
export const RequestIdField = z.unknown().optional().meta({
  type: "string",
  description: "1 to 128 of A-Z a-z 0-9 . _ : -; or the header Idempotency-Key or X-Request-ID",
});

type Header = (name: string) => string | undefined;

const safe = (value: unknown): string | undefined =>
  typeof value === "string" && SAFE_ID.test(value) ? value : undefined;

/** The trace id of the header, else `traceparent`, the body, `made` or a new one. Ids that can't be echoed safely are ignored. */
export const traceIdOf = (header: Header, body?: unknown, made?: string): string =>
  safe(header("X-Trace-ID")) ??
  TRACEPARENT.exec(header("traceparent") ?? "")?.[1] ??
  safe(field(body, "trace_id")) ??
  made ??
  newTraceId();

/** The request id of an operation that may have none; a malformed one counts as none. */
export const optionalRequestId = (header: Header, body?: unknown): string | undefined =>
  safe(sentRequestId(header, body));

/** The value of the response's `X-Request-ID`: the request's own header, by which proxies trace, else the request id. */
export const echoedRequestId = (header: Header, requestId: string | undefined): string | undefined =>
  safe(header("X-Request-ID")) ?? requestId;

/** The required request id. Refuses (400) none and one that is empty or no string, (422) one that is too long or malformed. */
export function requireRequestId(header: Header, body: unknown): string {
  const sent = sentRequestId(header, body);
  if (sent === undefined)
    throw new AppError("MISSING_REQUEST_ID", "request_id is required: in the body, Idempotency-Key or X-Request-ID");
  if (typeof sent !== "string" || sent.trim() === "") {
    throw new AppError("INVALID_REQUEST_ID", "request_id must be a non-empty string", { status: 400 });
  }
  if (SAFE_ID.test(sent)) return sent;
  throw new AppError("INVALID_REQUEST_ID", "request_id must be at most 128 of the characters A-Z a-z 0-9 . _ : -", {
    status: 422,
  });
}

/** Whether the client uses `Idempotency-Key`, so that a duplicate is answered with the original response. */
export const wantsReplay = (header: Header, body: unknown): boolean =>
  (field(body, "request_id") ?? null) === null && header("Idempotency-Key") !== undefined;

/** Proxies write a new `X-Request-ID` for each attempt, so it counts last. */
const sentRequestId = (header: Header, body: unknown): unknown =>
  field(body, "request_id") ?? unquoted(header("Idempotency-Key")) ?? header("X-Request-ID");

/** `Idempotency-Key` as a structured field is a quoted string: https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3 */
function unquoted(key: string | undefined): string | undefined {
  const [, quoted] = /^"((?:[^"\\]|\\["\\])*)"$/.exec(key?.trim() ?? "") ?? [];
  return quoted === undefined ? key : quoted.replaceAll(/\\(["\\])/g, "$1");
}

const field = (body: unknown, name: string): unknown =>
  typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined;
