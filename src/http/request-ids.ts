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

/** The request id, if it may be echoed as `X-Request-ID`. */
export const echoableRequestId = (header: Header, body?: unknown): string | undefined =>
  safe(sentRequestId(header, body));

/** Returns the required request id. Refuses a missing, empty or non-string id (400), and a long or malformed one (422). */
export function requireRequestId(header: Header, body: unknown): string {
  const sent = sentRequestId(header, body);
  if (sent === undefined)
    throw new AppError("MISSING_REQUEST_ID", "request_id is required: in the body, X-Request-ID or Idempotency-Key");
  if (typeof sent !== "string" || sent.trim() === "") {
    throw new AppError("INVALID_REQUEST_ID", "request_id must be a non-empty string", { status: 400 });
  }
  if (SAFE_ID.test(sent)) return sent;
  throw new AppError("INVALID_REQUEST_ID", "request_id must be at most 128 of the characters A-Z a-z 0-9 . _ : -", {
    status: 422,
  });
}

/** True when the client sent the header `Idempotency-Key` and therefore expects the original answer again. */
export const wantsReplay = (header: Header, body: unknown): boolean =>
  field(body, "request_id") === undefined &&
  header("X-Request-ID") === undefined &&
  header("Idempotency-Key") !== undefined;

const sentRequestId = (header: Header, body: unknown): unknown =>
  field(body, "request_id") ?? header("X-Request-ID") ?? header("Idempotency-Key");

const field = (body: unknown, name: string): unknown =>
  typeof body === "object" && body !== null ? (body as Record<string, unknown>)[name] : undefined;
