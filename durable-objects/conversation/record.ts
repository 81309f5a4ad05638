import type { Recording, RecordOutcome } from "../../src/domain/conversation.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { Storage } from "../storage.ts";
import type { FactStore } from "./facts.ts";
import type { Outbox } from "./outbox.ts";
import { enter, isForeign, sessionFor } from "./session.ts";
import type { Turns } from "./turns.ts";

type Parts = { storage: Storage; facts: FactStore; turns: Turns; outbox: Outbox };

/** Keeps messages that are no turn, each id once. One synchronous step: what it says is already written. */
export function record(
  { storage, facts, turns, outbox }: Parts,
  recording: Recording,
  { address, now }: { address: string; now: number },
): RecordOutcome {
  if (isForeign(facts, recording)) {
    return { kind: "refused", code: "RESOURCE_NOT_FOUND", message: "No such conversation", details: {} };
  }
  const current = facts.get("session");
  const session = sessionFor(current, turns.waiting() > 0, { ...recording, now });
  return storage.transactionSync(() => {
    const fresh = recording.messages.filter(({ id }) => remember(storage, id, now));
    if (fresh.length === 0) return { kind: "recorded", sessionId: session.id };

    let saidAt = Math.max(now - 1, current?.lastMessageAt ?? 0);
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
    return { kind: "recorded", sessionId: session.id };
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
