import { sessionById } from "../db/sessions.ts";
import type { StoredSession } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { addressOfSession } from "../domain/address.ts";
import type { RecordedMessage } from "../rpc/conversation.ts";
import { AppError, notFound, toAppError } from "../domain/errors.ts";
import { sha256 } from "../domain/crypto.ts";
import { Uuid, uuidOf, uuidv7 } from "../domain/ids.ts";
import type { Caller } from "../domain/principal.ts";
import type { TranscribedMessage } from "../domain/transcript.ts";
import { authorize, conversationOf } from "../domain/authorization.ts";
/** Largest accepted lead of a voice pipeline's clock. */
const MAX_AHEAD_MS = 10 * 60_000;
const EARLIEST = Date.UTC(2000);

type Delivery = {
  messages: readonly TranscribedMessage[];
  /** Deduplicates repeated requests with messages that have no ids. */
  requestId: string | null;
  traceId: string;
};

/**
 * Saves a transcript and returns the ids of its messages in order. They are stored in the conversation's object, so
 * Postgres may be unavailable; it is read only when the object no longer knows the session. Refuses (404) a conversation
 * unknown to the brand, (403) another user's and words of the assistant from a user, (422) a time before 2000 or in the future, (409) an
 * id that was sent with other words.
 */
export async function saveTranscript(
  deps: Pick<Deps, "read" | "conversation" | "now" | "caches" | "carryEntry">,
  caller: Caller,
  sessionId: string,
  delivery: Delivery,
): Promise<string[]> {
  if (caller.kind === "user" && delivery.messages.some(({ role }) => role === "assistant")) {
    throw new AppError("FORBIDDEN", "Messages of the assistant are saved with an API key only");
  }
  requirePlausibleTimes(delivery.messages, deps.now());
  const messages = await Promise.all(
    delivery.messages.map((message, index) => toRecord(message, index, sessionId, delivery, deps.now())),
  );
  const keepAt = async (address: string, session: StoredSession | null): Promise<string[] | null> => {
    const written = deps.caches.writtenEntries.take(address);
    const transcript = { sessionId, caller, session, messages, ...(written === null ? {} : { written }) };
    const outcome = await deps.conversation(address).transcribe(transcript);
    if (outcome.kind === "refused") throw toAppError(outcome);
    if (outcome.kind === "conflict") throw conflict(outcome.indexes);
    if (outcome.kind === "unknown") return null;
    if (outcome.entry !== undefined) deps.carryEntry(outcome.entry);
    return outcome.ids;
  };
  const address = addressOfSession(sessionId);
  const ids = address === null ? null : await keepAt(address, null);
  if (ids !== null) return ids;
  const session = await deps.read(sessionById(caller.brandId, sessionId));
  if (session === null) throw notFound("conversation", sessionId);
  authorize(caller, "conversations:write", conversationOf(session));
  const kept = await keepAt(session.address, session);
  if (kept === null) throw notFound("conversation", sessionId);
  return kept;
}

/** Refuses (422, by index) times before 2000, which are clocks that were never set, and times in the future. */
function requirePlausibleTimes(messages: readonly TranscribedMessage[], now: number): void {
  const fields = messages.flatMap(({ saidAt }, index) => {
    if (saidAt === null || (saidAt >= EARLIEST && saidAt <= now + MAX_AHEAD_MS)) return [];
    const message = saidAt < EARLIEST ? "is before 2000" : "is in the future";
    return [{ field: `messages.${index}.timestamp`, index, message }];
  });
  if (fields.length > 0)
    throw new AppError("VALIDATION_ERROR", "A time is not plausible", { status: 422, details: { fields } });
}

/** 409 for the messages at these indexes. */
const conflict = (indexes: readonly number[]): AppError =>
  new AppError("CONFLICT", "A message with this id was sent before with other words", {
    details: {
      fields: indexes.map((index) => ({ field: `messages.${index}.id`, index, message: "was sent with other words" })),
    },
  });

async function toRecord(
  { id, role, content, saidAt, metadata }: TranscribedMessage,
  index: number,
  sessionId: string,
  { requestId, traceId }: Delivery,
  now: number,
): Promise<RecordedMessage> {
  return {
    id: await messageId(),
    clientId: id !== null && Uuid.safeParse(id).success ? id.toLowerCase() : null,
    fingerprint: id === null ? null : await sha256(JSON.stringify([role, content])),
    role,
    content,
    saidAt,
    requestId,
    traceId,
    metadata: { ...metadata, recorded: "transcript" },
  };

  /** Derived: a client's id, or a position in a request, means something in this conversation only. */
  async function messageId(): Promise<string> {
    if (id !== null) return uuidOf(JSON.stringify([sessionId, Uuid.safeParse(id).success ? id.toLowerCase() : id]));
    if (requestId === null) return uuidv7(now);
    return uuidOf(JSON.stringify([sessionId, requestId, index, role, content, saidAt]));
  }
}
