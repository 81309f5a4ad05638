import { z } from "zod";
import { MAX_METADATA_BYTES, sanitizeData } from "./sanitize.ts";
import { cleanText, codePoints } from "./text.ts";
import type { Role } from "./role.ts";
import { byteLength } from "./json.ts";

/** Code points. */
export const MAX_CONTENT = 10_000;

/** What somebody says: cleaned and trimmed, 1 to 10,000 code points. Refused when longer; a person's words are never cut. */
export const MessageContent = z
  .string()
  .overwrite((text) => cleanText(text).trim())
  .min(1, "must not be empty")
  .refine((text) => codePoints(text) <= MAX_CONTENT, `must be at most ${MAX_CONTENT} characters`)
  .meta({ maxLength: MAX_CONTENT });

/** What a client says about its message: any JSON object of at most 64 KB as it was sent. Comes out sanitised. */
export const MessageMetadata = z
  .record(z.string(), z.unknown())
  .refine(
    (metadata) => byteLength(JSON.stringify(metadata)) <= MAX_METADATA_BYTES,
    `must be at most ${MAX_METADATA_BYTES} bytes of JSON`,
  )
  .overwrite((metadata) => sanitizeData(metadata));

/** A message as it was said. `createdAt` is at least a millisecond after the one before it in its conversation. */
export type Message = {
  id: string;
  role: Role;
  content: string;
  seq: number;
  createdAt: number;
  requestId: string | null;
  traceId: string | null;
  channelMessageId: string | null;
  metadata: Record<string, unknown>;
};
