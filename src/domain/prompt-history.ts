import { z } from "zod";
import { isRevoked } from "./amendment.ts";
import { isRecord } from "./json.ts";
import type { Message } from "./message.ts";
import { ROLES } from "./role.ts";

/**
 * A message of the history as the model gets it. `fallback` marks an instance's default reply, which the model did not
 * write; `attachments` and `referral` are those of the message.
 */
export const HistoryEntry = z.object({
  role: z.enum(ROLES),
  content: z.string(),
  fallback: z.literal(true).optional(),
  attachments: z.array(z.record(z.string(), z.unknown())).optional(),
  referral: z.record(z.string(), z.unknown()).optional(),
});
export type HistoryEntry = z.infer<typeof HistoryEntry>;

type Stored = Pick<Message, "role" | "content" | "metadata">;

/** Kinds that change an earlier message: the prompt holds that message as it stands. */
const AMENDMENTS = ["edit", "revoke"];

/**
 * The history as the model gets it. Left out: notices of the channel (their text may hold names that a sender chose), edits
 * and revocations, revoked messages, and broadcasts that were not delivered.
 */
export const promptHistory = (messages: readonly Stored[]): HistoryEntry[] =>
  messages.filter(isInPrompt).map(toHistoryEntry);

/** JSON length of an entry without its content. */
const FIELDS_LENGTH = JSON.stringify({ role: "assistant", content: "", fallback: true }).length;

/** UTF-16 units of an entry's JSON at most, without escapes. */
export const maxUnits = ({ content, attachments, referral }: HistoryEntry): number =>
  content.length +
  FIELDS_LENGTH +
  (attachments === undefined && referral === undefined ? 0 : JSON.stringify({ attachments, referral }).length);

function isInPrompt({ role, content, metadata }: Stored): boolean {
  const { whatsapp, broadcast_id, delivery } = metadata;
  const isAmendment = isRecord(whatsapp) && AMENDMENTS.includes(String(whatsapp.kind));
  const isUnsent = broadcast_id !== undefined && isRecord(delivery) && delivery.state === "failed";
  return content !== "" && role !== "system" && !isAmendment && !isUnsent && !isRevoked({ metadata });
}

function toHistoryEntry({ role, content, metadata }: Stored): HistoryEntry {
  const { attachments, whatsapp, fallback } = metadata;
  const referral = isRecord(whatsapp) ? whatsapp.referral : undefined;
  return {
    role,
    content: withMarker(content, attachments),
    ...(role === "assistant" && fallback === true && { fallback }),
    ...(Array.isArray(attachments) && { attachments: attachments.filter(isRecord) }),
    ...(isRecord(referral) && { referral }),
  };
}

/** A caption says nothing of its file to a model that gets text only: `[image: caption]`. */
function withMarker(content: string, attachments: unknown): string {
  const [file] = Array.isArray(attachments) ? (attachments as unknown[]) : [];
  return isRecord(file) && typeof file.caption === "string" && typeof file.type === "string"
    ? `[${file.type}: ${content}]`
    : content;
}
