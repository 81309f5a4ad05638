import type { StoredEntry } from "../../../src/domain/ledger.ts";
import type { RecordedMessage, Recording, RecordOutcome, Undeliverable } from "../../../src/rpc/conversation.ts";
import { markFounded } from "../channel/forwarding.ts";
import { uuidv7 } from "../../../src/domain/ids.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";
import { setCurrentSession, isOwnedByAnother, sessionFor } from "./current.ts";
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
  stores.storage.transactionSync(() => {
    if (recording.outbound) markFounded(state, options.now);
    appendEntry(stores, session, recording.messages, { ...options, enters: true });
  });
  return { kind: "recorded", sessionId: session.id };
}

/** Whether all of these messages were recorded here. */
export const isRecorded = ({ storage }: Pick<Stores, "storage">, messages: readonly { id: string }[]): boolean =>
  messages.every(({ id }) => storage.sql.exec("SELECT 1 FROM recorded WHERE message_id = ?", id).toArray().length > 0);

/** Appends the messages that are new to a session as one entry; null when none is. Call in a transaction. */
export function appendEntry(
  { storage, state, outbox }: Pick<Stores, "storage" | "state" | "outbox">,
  session: Session,
  recorded: readonly RecordedMessage[],
  { address, now, enters }: Options & { enters: boolean },
): StoredEntry | null {
  const fresh = recorded.filter((message) => remember(storage, message, now));
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
    clientId: message.clientId ?? null,
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
}

/** Returns false for a known id. */
const remember = (storage: Storage, { id, fingerprint = null }: RecordedMessage, now: number): boolean =>
  storage.sql
    .exec<{ message_id: string }>(
      `INSERT INTO recorded (message_id, recorded_at, fingerprint) VALUES (?, ?, ?)
       ON CONFLICT DO NOTHING RETURNING message_id`,
      id,
      now,
      fingerprint,
    )
    .toArray().length > 0;

/** Later duplicates are deduplicated by the primary key in Postgres. */
const REMEMBERED_MS = 24 * 3_600_000;

/** Deletes ids of messages that are in Postgres. Call only while no entry is pending. */
export const forgetRecorded = (storage: Storage, now: number): void => {
  storage.sql.exec("DELETE FROM recorded WHERE recorded_at < ?", now - REMEMBERED_MS);
};
