import type { StoredEntry } from "../../../src/domain/ledger.ts";
import type {
  RecordedMessage,
  Recording,
  RecordOutcome,
  Transcript,
  Undeliverable,
  Unknown,
} from "../../../src/rpc/conversation.ts";
import { uuidv7 } from "../../../src/domain/ids.ts";
import type { Session } from "../../../src/domain/session.ts";
import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import type { Storage } from "../../runtime/storage.ts";
import { setCurrentSession, isErased, isOwnedByAnother, sessionFor } from "./current.ts";
import { knownSession } from "./unsaved.ts";
import { toRefused, sessionNotFound } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

type Options = { address: string; now: number };

type RecordOptions = Options & {
  /** Why a message could not be sent now, or null: then none is recorded. */
  undeliverable?: (message: RecordedMessage) => Undeliverable | null;
};

/** Records messages outside a turn (broadcasts), deduplicated by id. Synchronous: the outcome is committed. */
export function record(
  stores: Pick<Stores, "storage" | "state" | "turns" | "outbox">,
  recording: Recording,
  { undeliverable = () => null, ...options }: RecordOptions,
): RecordOutcome | Undeliverable {
  const { state, turns } = stores;
  if (isOwnedByAnother(state, recording)) {
    return { kind: "refused", code: "RESOURCE_NOT_FOUND", message: "No such conversation", details: {} };
  }
  for (const message of recording.messages) {
    const reason = undeliverable(message);
    if (reason !== null) return reason;
  }
  const session = sessionFor(state, turns.pendingCount() > 0, { ...recording, ...options });
  appendEntry(stores, session, recording.messages, { ...options, enters: true });
  return { kind: "recorded", sessionId: session.id };
}

/**
 * Records transcript messages in a given session, open or over: a transcript may arrive late. A message later than the
 * session's end reopens it.
 */
export function transcribe(
  stores: Pick<Stores, "storage" | "state" | "turns" | "outbox">,
  transcript: Transcript,
  options: Options,
): RecordOutcome | Unknown {
  const { sessionId, caller, messages } = transcript;
  if (isErased(stores.state, sessionId)) return sessionNotFound(sessionId);
  const session = knownSession(stores, sessionId) ?? transcript.session;
  if (session === null) return { kind: "unknown" };
  const refusal = toRefused(() => authorize(caller, "conversations:write", conversationOf(session)));
  if (refusal !== null) return refusal;
  // A transcript of an earlier session leaves the current one unchanged.
  const current = stores.state.get("session");
  const entry = appendEntry(stores, session, messages, {
    ...options,
    enters: current === null || current.id === sessionId,
  });
  return { kind: "recorded", sessionId, ...(entry === null ? {} : { entry }) };
}

/** Appends the messages that are new to a session as one entry; null when none is. */
function appendEntry(
  { storage, state, outbox }: Pick<Stores, "storage" | "state" | "turns" | "outbox">,
  session: Session,
  recorded: readonly RecordedMessage[],
  { address, now, enters }: Options & { enters: boolean },
): StoredEntry | null {
  return storage.transactionSync(() => {
    const fresh = recorded.filter(({ id }) => remember(storage, id, now));
    if (fresh.length === 0) return null;

    let saidAt = Math.max(now - 1, session.lastMessageAt, state.get("lastSaidAt") ?? 0);
    const messages = fresh.map((message) => ({
      id: message.id,
      role: message.role,
      content: message.content,
      createdAt: message.saidAt ?? (saidAt += 1),
      requestId: message.requestId,
      traceId: message.traceId,
      channelMessageId: null,
      metadata: message.metadata,
    }));
    // A client's clock that is ahead must not keep the session open.
    const latest = Math.max(now, saidAt);
    const times = messages.map(({ createdAt }) => Math.min(createdAt, latest));
    const replies = times.filter((_, index) => messages[index]?.role === "assistant");
    const lastReplyAt = Math.max(session.lastAssistantMessageAt ?? 0, ...replies);
    const after = {
      ...session,
      lastMessageAt: Math.max(session.lastMessageAt, ...times),
      lastAssistantMessageAt: lastReplyAt === 0 ? null : lastReplyAt,
    };
    if (enters) setCurrentSession(state, after, now);
    const closed = state.get("closed");
    const entry = { id: uuidv7(now), address, session: after, closed, turn: null, messages, usage: null };
    state.remove("closed");
    return outbox.add(entry);
  });
}

/** Returns false for a known id. */
const remember = (storage: Storage, messageId: string, now: number): boolean =>
  storage.sql
    .exec<{ message_id: string }>(
      "INSERT INTO recorded (message_id, recorded_at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING message_id",
      messageId,
      now,
    )
    .toArray().length > 0;

/** Later duplicates are deduplicated by the primary key in Postgres. */
const REMEMBERED_MS = 24 * 3_600_000;

/** Deletes ids of messages that are in Postgres. Call only while no entry is pending. */
export const forgetRecorded = (storage: Storage, now: number): void => {
  storage.sql.exec("DELETE FROM recorded WHERE recorded_at < ?", now - REMEMBERED_MS);
};
