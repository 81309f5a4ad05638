import { inboundMessageIdOf, replyMessageIdOf, usageIdOf, uuidv7 } from "../../../src/domain/ids.ts";
import type { NewEntry, StoredEntry } from "../../../src/domain/ledger.ts";
import { stamped } from "../../../src/domain/session.ts";
import type { TurnResult } from "./answer.ts";
import { isEnded } from "../sessions/current.ts";
import type { StoredTurn, Work } from "../stores/turn.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import { withWarnings } from "../../../src/domain/message.ts";
import type { Message } from "../../../src/domain/message.ts";
import type { Stores } from "../stores.ts";

type Options = { address: string; lifetimeMs: number; now: number };

/**
 * Commits a result as the turn's answer, together with its ledger entry. Returns null, and changes nothing, when the run
 * has been replaced.
 */
export function settleTurn(
  stores: Pick<Stores, "storage" | "state" | "turns" | "outbox">,
  turn: StoredTurn,
  work: Work,
  result: TurnResult,
  options: Options,
): { answer: Answer; entry: StoredEntry | null } | null {
  const { storage, state, turns, outbox } = stores;
  const { now } = options;
  return storage.transactionSync(() => {
    const answer = answerOf(turn, work, result, now);
    if (!turns.saveAnswer(turn, answer, options.lifetimeMs, now)) return null;
    const session = state.get("session");
    if (session === null) throw new Error("A turn is settled in a conversation without a session");

    const repliedAt = Math.max(now, session.lastMessageAt + 1);
    const spokenIn = stamped(session, "lastMessageAt", repliedAt);
    const after = { ...stamped(spokenIn, "lastAssistantMessageAt", repliedAt), tokenPlan: result.tokenPlan };
    state.hold("session", after);
    const entry: NewEntry = {
      id: turn.turnId,
      address: options.address,
      session: after,
      closed: state.get("closed"),
      turn: {
        id: turn.turnId,
        scope: turn.scope,
        requestId: turn.requestId,
        fence: turn.fence,
        lockedAt: turn.admittedAt,
        expiresAt: now + options.lifetimeMs,
        cachedResponse: answer,
      },
      messages: [userMessage(turn, work), replyMessage(turn, work, result, answer, repliedAt)],
      usage: result.usage && { ...result.usage, id: usageIdOf(turn.turnId) },
    };
    state.remove("closed");
    const stored = outbox.add(entry);
    // The session was ended during the run: the reply belongs to it but does not reopen it.
    if (isEnded(state, session)) {
      const ended = { sessionId: session.id, expiredAt: repliedAt };
      state.set("ended", ended);
      outbox.add({ ...entry, id: uuidv7(now), closed: ended, turn: null, messages: [], usage: null });
      return { answer, entry: null };
    }
    return { answer, entry: work.origin === null ? stored : null };
  });
}

function answerOf(turn: StoredTurn, work: Work, result: TurnResult, now: number): Answer {
  return {
    request_id: turn.requestId,
    session_id: turn.sessionId,
    user_id: work.user.id,
    is_guest: work.user.tier === "guest",
    inbound_message_id: inboundMessageIdOf(turn.turnId),
    message_id: replyMessageIdOf(turn.turnId),
    text: result.text,
    token_usage: result.tokenUsage,
    fallback: result.fallback,
    ...withWarnings([...(work.warnings ?? []), ...result.warnings]),
    timing_ms: {
      total: now - work.receivedAt,
      admission: turn.admittedAt - work.receivedAt,
      orchestrator: result.orchestratorMs,
    },
  };
}

const userMessage = (turn: StoredTurn, work: Work): Omit<Message, "seq"> => ({
  id: inboundMessageIdOf(turn.turnId),
  role: "user",
  content: work.content,
  createdAt: work.saidAt,
  requestId: turn.requestId,
  traceId: work.traceId,
  channelMessageId: work.origin?.channelMessageId ?? null,
  metadata: { ...work.metadata, channel: work.channel },
});

const replyMessage = (
  turn: StoredTurn,
  work: Work,
  result: TurnResult,
  answer: Answer,
  createdAt: number,
): Omit<Message, "seq"> => ({
  id: replyMessageIdOf(turn.turnId),
  role: "assistant",
  content: result.text,
  createdAt,
  requestId: turn.requestId,
  traceId: work.traceId,
  channelMessageId: null,
  metadata: {
    channel: work.channel,
    fallback: result.fallback,
    ...result.metadata,
    timing_ms: answer.timing_ms,
  },
});
