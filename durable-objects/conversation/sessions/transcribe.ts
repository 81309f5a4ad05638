import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import { sessionNotFound, toRefused } from "../../../src/domain/errors.ts";
import { turnIdOfMessage } from "../../../src/domain/ids.ts";
import type { RecordedMessage, Transcript, TranscribeOutcome } from "../../../src/rpc/conversation.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { Stores } from "../stores.ts";
import { isErased } from "./current.ts";
import { appendEntry } from "./record.ts";
import { knownSession } from "./unsaved.ts";

/**
 * Records transcript messages in a given session, open or over: a transcript may arrive late. A message later than the
 * session's end reopens it. A message that the session has under the client's id, a turn's for instance, is not recorded
 * again. Ids that come with other words refuse the whole transcript.
 */
export function transcribe(
  stores: Pick<Stores, "storage" | "state" | "outbox">,
  transcript: Transcript,
  options: { address: string; now: number },
): TranscribeOutcome {
  const { storage, state } = stores;
  const { sessionId, caller, messages } = transcript;
  if (isErased(state, sessionId)) return sessionNotFound(sessionId);
  const session = knownSession(stores, sessionId) ?? transcript.session;
  if (session === null) return { kind: "unknown" };
  const refusal = toRefused(() => authorize(caller, "conversations:write", conversationOf(session)));
  if (refusal !== null) return refusal;

  const indexes = conflictsIn(storage, messages);
  if (indexes.length > 0) return { kind: "conflict", indexes };
  const mirrored = messages.filter(({ clientId }) => clientId != null && hasMessage(storage, sessionId, clientId));
  // A transcript of an earlier session leaves the current one unchanged.
  const current = state.get("session");
  const enters = current === null || current.id === sessionId;
  const entry = storage.transactionSync(() =>
    appendEntry(
      stores,
      session,
      messages.filter((message) => !mirrored.includes(message)),
      { ...options, enters },
    ),
  );
  const ids = messages.map((message) => (mirrored.includes(message) ? (message.clientId ?? message.id) : message.id));
  return { kind: "recorded", sessionId, ids, ...(entry === null ? {} : { entry }) };
}

/** Indexes of messages with an id that was recorded, or stands earlier in the transcript, with another content. */
function conflictsIn(storage: Storage, messages: readonly RecordedMessage[]): number[] {
  const seen = new Map<string, string>();
  return messages.flatMap(({ id, fingerprint = null }, index) => {
    if (fingerprint === null) return [];
    const [row] = storage.sql
      .exec<{ fingerprint: string | null }>("SELECT fingerprint FROM recorded WHERE message_id = ?", id)
      .toArray();
    const known = row?.fingerprint ?? seen.get(id) ?? fingerprint;
    seen.set(id, fingerprint);
    return known === fingerprint ? [] : [index];
  });
}

/** Whether a message of the session has this id: one of an entry here, or of a turn that is not rejected. */
function hasMessage(storage: Storage, sessionId: string, id: string): boolean {
  const [row] = storage.sql
    .exec<{ found: number }>(
      `SELECT EXISTS (SELECT 1 FROM turns WHERE turn_id = ? AND turn_id <> ? AND session_id = ? AND state <> 'rejected')
         OR EXISTS (SELECT 1 FROM entries, json_each(entries.entry, '$.messages') message
           WHERE entries.session_id = ? AND json_extract(message.value, '$.id') = ?) AS found`,
      turnIdOfMessage(id),
      id,
      sessionId,
      sessionId,
      id,
    )
    .toArray();
  return row?.found === 1;
}
