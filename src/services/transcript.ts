import { sessionById } from "../db/sessions.ts";
import type { StoredSession } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { addressOfSession } from "../domain/address.ts";
import type { RecordedMessage } from "../rpc/conversation.ts";
import { invalid, notFound, toAppError } from "../domain/errors.ts";
import { Uuid, uuidOf, uuidv7 } from "../domain/ids.ts";
import type { Caller } from "../domain/principal.ts";
import type { TranscribedMessage } from "../domain/transcript.ts";
import { authorize, conversationOf } from "../domain/authorization.ts";
/** A voice pipeline's clock may be ahead of ours, but not by more than this. */
const MAX_AHEAD_MS = 10 * 60_000;

type Delivery = {
  messages: readonly TranscribedMessage[];
  /** With one, a repeat without message ids is the same messages. */
  requestId: string | null;
  traceId: string;
};

/**
 * Keeps what was said in a conversation and was written down elsewhere; the ids of the messages, in order. Nothing is
 * waited for but the conversation's object, which has the words when this returns: Postgres may be away. Only a
 * conversation its object has forgotten is looked up. Refuses (404) a conversation the brand doesn't have, (403) another
 * person's, (400) a time that is yet to come.
 */
export async function saveTranscript(
  deps: Pick<Deps, "read" | "conversation" | "now">,
  caller: Caller,
  sessionId: string,
  delivery: Delivery,
): Promise<string[]> {
  const latest = deps.now() + MAX_AHEAD_MS;
  if (delivery.messages.some(({ saidAt }) => (saidAt ?? 0) > latest)) {
    throw invalid("timestamp", "timestamp is in the future");
  }
  const messages = await Promise.all(
    delivery.messages.map((message, index) => toRecord(message, index, sessionId, delivery, deps.now())),
  );
  const keepAt = async (address: string, session: StoredSession | null): Promise<boolean> => {
    const outcome = await deps.conversation(address).transcribe({ sessionId, caller, session, messages });
    if (outcome.kind === "refused") throw toAppError(outcome);
    return outcome.kind === "recorded";
  };
  const address = addressOfSession(sessionId);
  if (address === null || !(await keepAt(address, null))) {
    const session = await deps.read(sessionById(caller.brandId, sessionId));
    if (session === null) throw notFound("conversation", sessionId);
    authorize(caller, "conversations:write", conversationOf(session));
    await keepAt(session.address, session);
  }
  return messages.map(({ id }) => id);
}

async function toRecord(
  { id, role, content, saidAt, metadata }: TranscribedMessage,
  index: number,
  sessionId: string,
  { requestId, traceId }: Delivery,
  now: number,
): Promise<RecordedMessage> {
  return {
    id: await messageId(),
    role,
    content,
    saidAt,
    requestId,
    traceId,
    metadata,
  };

  /** A client's UUID as it is; any other name, and a place in a request, means something in this conversation only. */
  async function messageId(): Promise<string> {
    if (id !== null) return Uuid.safeParse(id).success ? id.toLowerCase() : uuidOf(JSON.stringify([sessionId, id]));
    if (requestId === null) return uuidv7(now);
    return uuidOf(JSON.stringify([sessionId, requestId, index, role, content, saidAt]));
  }
}
