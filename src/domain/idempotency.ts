import { createHash } from "node:crypto";
import { invalid } from "./errors.ts";
import { fitMetadata, MAX_METADATA_BYTES, sanitizeData } from "./sanitize.ts";
import { sha256 } from "./crypto.ts";
import { isRecord } from "./json.ts";

const MAX_KEY_LENGTH = 128;
const TRUNCATED = ',"truncated":true';

/** Where a request id is unique: an instance and a session, or an instance alone. */
export const sessionScope = (instanceId: string, sessionId: string | null): string =>
  `${instanceId}:${sessionId ?? ""}`;

/**
 * The scope of a message's request id. On a channel that addresses contacts it is the conversation's address, so a
 * duplicate is known before anything is read from the database.
 */
export const requestScope = (
  { addressedBy }: { addressedBy: "user" | "contact" },
  { address, instanceId }: { address: string; instanceId: string },
  sessionId: string | null,
): string => (addressedBy === "contact" ? address : sessionScope(instanceId, sessionId));

/** A request id derived from a foreign id of any length. */
export const requestIdOf = (id: string): string =>
  id.length > MAX_KEY_LENGTH ? createHash("sha256").update(id).digest("hex") : id;

/**
 * The full idempotency key, `{instance}:{session}:{request}` (SHA-256 in hex when longer than 128 characters).
 * Refuses (400) a missing part, and a request id over 128 characters.
 */
export async function idempotencyKey(scope: string, requestId: string): Promise<string> {
  if (scope === "" || scope.startsWith(":")) throw invalid("instance_id", "instance_id is required");
  if (!requestId?.trim()) throw invalid("request_id", "request_id is required");
  if (requestId.length > MAX_KEY_LENGTH) throw invalid("request_id", "request_id is longer than 128 characters");
  const key = `${scope}:${requestId}`;
  return key.length > MAX_KEY_LENGTH ? sha256(key) : key;
}

/**
 * The part of an answer that is stored for duplicates: without secrets at any depth, at most 64 KB of JSON, marked
 * `truncated: true` when entries were left out. Refuses (400) a value that is no object.
 */
export function cacheable(response: unknown): Record<string, unknown> {
  if (!isRecord(response)) throw invalid("response", "the response is not a JSON object");
  const { value, truncated } = fitMetadata(sanitizeData(response), MAX_METADATA_BYTES - TRUNCATED.length);
  return truncated ? { ...value, truncated } : value;
}

/** JSON with sorted keys, so that the order of keys does not matter. */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, item]) => `${JSON.stringify(key)}:${canonicalJson(item)}`);
  return `{${entries.join(",")}}`;
}

/** Fingerprint of a body, to recognise a repeated request id with another body. */
export const fingerprint = (body: unknown): Promise<string> => sha256(canonicalJson(body));
