import { inboundMessageIdOf, newTurnId, replyMessageIdOf, usageIdOf, uuidv7 } from "../../src/domain/ids.ts";
import { idempotencyKey, sessionScope } from "../../src/domain/idempotency.ts";
import type { LedgerEntry, LedgerNotice, KeyedEntry } from "../../src/domain/ledger.ts";
import type { Session } from "../../src/domain/session.ts";
import { ACME, INSTANCE } from "./demo.ts";
import type { Message } from "../../src/domain/message.ts";

const DAY_MS = 86_400_000;

/** A dead letter that belongs to no session. */
export const letter = (id: string, payload: Record<string, unknown> = {}): LedgerNotice => ({
  kind: "dead_letter",
  id,
  brandId: null,
  address: "somewhere",
  source: "whatsapp",
  reason: "no_instance",
  payload,
});

/** An object's session; the test creates its user. */
export const sessionOf = (userId: string, changes: Partial<Session> = {}): Session => ({
  id: uuidv7(changes.startedAt ?? 1_000_000),
  brandId: ACME,
  instanceId: INSTANCE.chat,
  userId,
  channel: "api",
  startedAt: 1_000_000,
  lastMessageAt: 1_000_000,
  lastAssistantMessageAt: null,
  tokenPlan: null,
  ...changes,
});

type TurnOptions = {
  requestId?: string;
  turnId?: string;
  fence?: number;
  /** Time of the message, epoch milliseconds; the reply follows a second later. */
  at?: number;
  /** Lifetime of the request id. */
  lifetimeMs?: number;
  content?: string;
  reply?: string;
  position?: number;
  metadata?: Record<string, unknown>;
  cachedResponse?: Record<string, unknown>;
};

/** The ledger entry of an answered turn. */
export function answeredTurn(session: Session, options: TurnOptions = {}): LedgerEntry {
  const at = options.at ?? 2_000_000;
  const id = options.turnId ?? newTurnId(at);
  const { requestId = "r1", content = "Hello", reply = "Hi", position = 1, metadata = {} } = options;
  const message = (role: Message["role"], text: string, index: number): Message => ({
    id: role === "user" ? inboundMessageIdOf(id) : replyMessageIdOf(id),
    role,
    content: text,
    seq: position * 1_000 + index,
    createdAt: at + index * 1_000,
    requestId,
    traceId: "trace",
    channelMessageId: null,
    metadata,
  });
  return {
    id,
    address: `address of ${session.id}`,
    session: { ...session, lastMessageAt: at + 1_000, lastAssistantMessageAt: at + 1_000 },
    closed: null,
    turn: {
      id,
      scope: sessionScope(session.instanceId, session.id),
      requestId,
      fence: options.fence ?? 1,
      lockedAt: at,
      expiresAt: at + (options.lifetimeMs ?? DAY_MS),
      cachedResponse: options.cachedResponse ?? { request_id: requestId, text: reply },
    },
    messages: [message("user", content, 0), message("assistant", reply, 1)],
    usage: {
      id: usageIdOf(id),
      templateKey: "acme_response",
      functionName: "response",
      plannedTokens: 2_000,
      sentTokens: 12,
      receivedTokens: 34,
      totalTokens: 46,
      llmModelId: null,
      inputPricePer1k: "0.00015",
      outputPricePer1k: "0.0006",
      costUsd: "0.0000222",
    },
  };
}

/** The entry with its full idempotency key. */
export const keyed = async (entry: LedgerEntry): Promise<KeyedEntry> => ({
  ...entry,
  turn: entry.turn && { ...entry.turn, key: await idempotencyKey(entry.turn.scope, entry.turn.requestId) },
});
