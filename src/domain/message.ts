import { z } from "zod";
import { byteLength, inexactPath, isRecord } from "./json.ts";
import type { Role } from "./role.ts";
import { MAX_METADATA_BYTES, sanitizeData } from "./sanitize.ts";
import { cleanContent, codePoints, truncate } from "./text.ts";

/** Code points. */
export const MAX_CONTENT = 10_000;
const MAX_WARNINGS = 20;
const MAX_PATH_KEY = 64;

/** A message's text: cleaned and trimmed, 1 to 10,000 code points. A longer one is refused, never cut. */
export const MessageContent = z
  .string()
  .overwrite(cleanContent)
  .min(1, "must not be empty")
  .refine((text) => codePoints(text) <= MAX_CONTENT, `must be at most ${MAX_CONTENT} characters`)
  .meta({ maxLength: MAX_CONTENT });

/** A client's metadata, sanitised; `warnings` name what was left out or changed, by path. */
export type SanitizedMetadata = { value: Record<string, unknown>; warnings: string[] };

export const NO_METADATA: SanitizedMetadata = { value: {}, warnings: [] };

/** An answer's warnings; absent when there are none. */
export const Warnings = z
  .array(z.string())
  .optional()
  .meta({ description: "Metadata that was left out or changed, by path; absent when unchanged" });

/** The field `warnings` of an answer; no field for none. */
export const withWarnings = (warnings: readonly string[] = []): { warnings?: string[] } =>
  warnings.length === 0 ? {} : { warnings: [...warnings] };

/** Keys of a message's metadata that only the service writes: a client could forge a delivery, an edit or a reply with them. */
export const RESERVED_KEYS: readonly string[] = [
  "broadcast_id",
  "channel",
  "delivery",
  "edited",
  "fallback",
  "orchestrator_response",
  "recorded",
  "revoked",
  "timing_ms",
  "whatsapp",
];

export function sanitizeMetadata(metadata: Record<string, unknown>): SanitizedMetadata {
  const changes: string[] = [];
  const onChange = (path: readonly (string | number)[], change: string) => {
    const keys = path.map((key) => (typeof key === "string" ? truncate(key, MAX_PATH_KEY) : key));
    changes.push(`${["metadata", ...keys].join(".")}: ${change}`);
  };
  const sanitized = Object.entries(sanitizeData(metadata, { onChange }));
  const value = Object.fromEntries(sanitized.filter(([key]) => !RESERVED_KEYS.includes(key)));
  for (const [key] of sanitized) if (!(key in value)) onChange([key], "reserved, removed");
  const more = changes.length - MAX_WARNINGS;
  return {
    value,
    warnings: more > 0 ? [...changes.slice(0, MAX_WARNINGS), `metadata: ${more} more changes`] : changes,
  };
}

/** Any JSON object of at most 64 KB as it was sent. Refused with a number that can't be kept as it is written. */
export const MessageMetadata = z
  .custom<Record<string, unknown>>(isRecord, "must be an object")
  .refine(
    (metadata) => byteLength(JSON.stringify(metadata)) <= MAX_METADATA_BYTES,
    `must be at most ${MAX_METADATA_BYTES} bytes of JSON`,
  )
  .transform((metadata, context) => {
    const path = inexactPath(metadata);
    if (path === null) return sanitizeMetadata(metadata);
    context.addIssue({ code: "custom", path, message: "can't be kept exactly: send the number as a string" });
    return z.NEVER;
  })
  .meta({ type: "object", additionalProperties: {}, description: "Any JSON object of at most 64 KB" });

/** `createdAt` is at least a millisecond after the conversation's message before it. */
export type Message = {
  id: string;
  role: Role;
  content: string;
  seq: number;
  createdAt: number;
  requestId: string | null;
  traceId: string | null;
  channelMessageId: string | null;
  /** A UUID under which the session may have this message already; the ledger then does not insert it. */
  clientId?: string | null;
  metadata: Record<string, unknown>;
};
