import type { RecordedMessage, Recording, RecordOutcome } from "../../src/domain/conversation.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { Session } from "../../src/domain/session.ts";
import type { Storage } from "../storage.ts";
import type { FactStore } from "./facts.ts";
import type { Outbox } from "./outbox.ts";
import { enter, isForeign, sessionFor } from "./session.ts";
import type { Turns } from "./turns.ts";

type Parts = { storage: Storage; facts: FactStore; turns: Turns; outbox: Outbox };
type Options = { address: string; now: number };

/** Keeps messages that are no turn, each id once. One synchronous step: what it says is already written. */
export function record(parts: Parts, recording: Recording, options: Options): RecordOutcome {
  const { facts, turns } = parts;
  if (isForeign(facts, recording)) {
    return { kind: "refused", code: "RESOURCE_NOT_FOUND", message: "No such conversation", details: {} };
  }
  const session = sessionFor(facts, turns.waiting() > 0, { ...recording, ...options });
  keep(parts, session, recording.messages, options);
  return { kind: "recorded", sessionId: session.id };
}

/** Writes what of it is new into a session, as one entry. */
function keep(
  { storage, facts, outbox }: Parts,
  session: Session,
  recorded: readonly RecordedMessage[],
  { address, now }: Options,
): void {
  storage.transactionSync(() => {
    const fresh = recorded.filter(({ id }) => remember(storage, id, now));
    if (fresh.length === 0) return;

    let saidAt = Math.max(now - 1, facts.get("session")?.lastMessageAt ?? 0);
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
    const times = messages.map(({ createdAt }) => createdAt);
    const replies = messages.filter(({ role }) => role === "assistant").map(({ createdAt }) => createdAt);
    const lastReplyAt = Math.max(session.lastAssistantMessageAt ?? 0, ...replies);
    const after = {
      ...session,
      lastMessageAt: Math.max(session.lastMessageAt, ...times),
      lastAssistantMessageAt: lastReplyAt === 0 ? null : lastReplyAt,
    };
    enter(facts, after, now);
    outbox.add({
      id: uuidv7(now),
      address,
      session: after,
      closed: facts.get("closed"),
      turn: null,
      messages,
      usage: null,
    });
    facts.remove("closed");
  });
}

/** False when it is remembered already. */
const remember = (storage: Storage, messageId: string, now: number): boolean =>
  storage.sql
    .exec<{ message_id: string }>(
      "INSERT INTO recorded (message_id, recorded_at) VALUES (?, ?) ON CONFLICT DO NOTHING RETURNING message_id",
      messageId,
      now,
    )
    .toArray().length > 0;
