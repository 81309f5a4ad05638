import { z } from "zod";
import { MAX_CONTENT, MessageMetadata } from "./message.ts";
import { cleanContent, codePoints } from "./text.ts";
import { parseIso } from "./time.ts";
import { isRecord } from "./json.ts";

/** Maximum number of messages per request. */
export const MAX_TRANSCRIPT = 100;

/** A message of a voice pipeline's transcript. */
export type TranscribedMessage = {
  /** The client's id, used for deduplication. */
  id: string | null;
  role: "user" | "assistant";
  content: string;
  /** When it was said; null takes the time of receipt. Epoch milliseconds. */
  saidAt: number | null;
  metadata: Record<string, unknown>;
  /** Changes of the metadata, by path. */
  warnings: readonly string[];
};

/** A local time names no instant: pipelines in two time zones would mean two. */
const WITH_OFFSET = /:\d{2}(?:[.,]\d+)?(?:Z|[+-]\d{2}(?::?\d{2})?)$/i;

const Timestamp = z
  .string()
  .transform((text, context) => {
    const instant = WITH_OFFSET.test(text.trim()) ? parseIso(text) : null;
    if (instant === null) {
      context.addIssue({ code: "custom", message: "must be an ISO 8601 date and time with its offset" });
    }
    return instant ?? 0;
  })
  .meta({ type: "string", format: "date-time", description: "When it was said; stored in milliseconds" });

/** One message of a transcript. */
export const TranscriptMessage = z
  .object({
    id: z.string().min(1).max(128).nullish().meta({
      description: "Client-supplied id, unique in the conversation; repeating it with other words is a conflict",
    }),
    role: z.enum(["user", "assistant"]),
    content: z
      .string()
      .overwrite(cleanContent)
      .refine((text) => codePoints(text) <= MAX_CONTENT, `must be at most ${MAX_CONTENT} characters`)
      .meta({ maxLength: MAX_CONTENT, description: "The text; for a reply, the part that was heard" }),
    timestamp: Timestamp.nullish(),
    interrupted: z
      .boolean()
      .nullish()
      .meta({ description: "True when the reply was interrupted; stored in the metadata" }),
    user_id: z
      .string()
      .max(256)
      .nullish()
      .meta({ description: "The pipeline's name for the speaker; stored in the metadata" }),
    metadata: MessageMetadata.nullish(),
  })
  .refine(
    ({ role, content, interrupted, metadata }) => {
      // A reply interrupted before its first word has no text and is still a reply.
      const isCutOff = role === "assistant" && (interrupted ?? metadata?.value.interrupted) === true;
      return content !== "" || isCutOff;
    },
    { path: ["content"], message: "must not be empty" },
  )
  .meta({ id: "TranscriptMessage" });

/**
 * All accepted shapes of a transcript, for the OpenAPI document: one message, a list, `{messages}` of Pipecat's
 * `on_transcript_update`, or the message of a turn event of Pipecat 1.0 and later.
 */
export const TranscriptShape = z.union([
  TranscriptMessage,
  z.array(TranscriptMessage).min(1).max(MAX_TRANSCRIPT),
  z.object({ messages: z.array(TranscriptMessage).min(1).max(MAX_TRANSCRIPT) }),
  z
    .object({
      type: z.enum(["user_turn", "assistant_turn", "on_user_turn_stopped", "on_assistant_turn_stopped"]).optional(),
      content: z.string(),
      timestamp: z.string(),
      user_id: z.string().nullish(),
      interrupted: z.boolean().optional(),
    })
    .meta({
      description:
        "A turn of Pipecat. Without `type`, one that says whether it was interrupted is the assistant's, one with a `user_id` the user's",
    }),
]);

/** Parses a transcript of any accepted shape with 1 to 100 messages. */
export const Transcript = z.unknown().transform((body, context): TranscribedMessage[] => {
  const refuse = (path: PropertyKey[], message: string) => {
    context.addIssue({ code: "custom", path, message });
    return z.NEVER;
  };
  const { items, path } = unpack(body);
  if (items.length === 0) return refuse(path, "must not be empty");
  if (items.length > MAX_TRANSCRIPT) return refuse(path, `must be at most ${MAX_TRANSCRIPT} messages`);
  return items.flatMap((item, index) => {
    const result = TranscriptMessage.safeParse(withRole(item));
    if (result.success) return toMessage(result.data);
    for (const issue of result.error.issues) {
      refuse([...(items === body || path.length > 0 ? [...path, index] : []), ...issue.path], issue.message);
    }
    return [];
  });
});

/** The messages of a body, and their path in it. */
function unpack(body: unknown): { items: readonly unknown[]; path: string[] } {
  if (Array.isArray(body)) return { items: body, path: [] };
  if (isRecord(body) && Array.isArray(body.messages)) return { items: body.messages, path: ["messages"] };
  return { items: [body], path: [] };
}

const TURN_EVENT = /^(?:on_)?(user|assistant)_turn(?:_stopped)?$/;

/** Pipecat's turns (`UserTurnStoppedMessage`, `AssistantTurnStoppedMessage`) have no role; their event names it. */
function withRole(item: unknown): unknown {
  if (!isRecord(item) || item.role !== undefined) return item;
  const event = item.type ?? item.event;
  const [, role] = (typeof event === "string" ? TURN_EVENT.exec(event) : null) ?? [];
  const turn = isRecord(item.message) ? item.message : item;
  if (role !== undefined) return { ...turn, role };
  if (typeof turn.interrupted === "boolean") return { ...turn, role: "assistant" };
  return "user_id" in turn ? { ...turn, role: "user" } : item;
}

const toMessage = (message: z.infer<typeof TranscriptMessage>): TranscribedMessage => ({
  id: message.id ?? null,
  role: message.role,
  content: message.content,
  saidAt: message.timestamp ?? null,
  warnings: message.metadata?.warnings ?? [],
  metadata: {
    ...message.metadata?.value,
    ...(message.interrupted == null ? {} : { interrupted: message.interrupted }),
    ...(message.user_id == null ? {} : { user_id: message.user_id }),
  },
});
