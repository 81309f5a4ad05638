import { inboundMessageIdOf, replyMessageIdOf, usageIdOf, uuidv7 } from "../../../src/domain/ids.ts";
import type { NewEntry } from "../../../src/domain/ledger.ts";
import { stamped } from "../../../src/domain/session.ts";
import type { TurnResult } from "./answer.ts";
import { isEnded } from "../sessions/current.ts";
import type { StoredTurn, Work } from "../stores/turns.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import type { Message } from "../../../src/domain/message.ts";
import type { Stores } from "../stores.ts";

type Options = { address: string; lifetimeMs: number; now: number };

/**
 * Makes a result the turn's answer and writes the entry that tells Postgres, in one step. Null when the run that offers
 * it has been replaced: then nothing is changed.
 */
export function settleTurn(
  stores: Pick<Stores, "storage" | "state" | "turns" | "outbox">,
  turn: StoredTurn,
  work: Work,
  result: TurnResult,
  options: Options,
): Answer | null {
  const { storage, state, turns, outbox } = stores;
  const { now } = options;
  return storage.transactionSync(() => {
    const answer = answerOf(turn, work, result, now);
    if (!turns.saveAnswer(turn, answer, options.lifetimeMs, now)) return null;
    const session = state.get("session");
    if (session === null) throw new Error("A turn is settled in a conversation without a session");

    const repliedAt = Math.max(now, session.lastMessageAt + 1);
    const heard = stamped(session, "lastMessageAt", repliedAt);
    const after = { ...stamped(heard, "lastAssistantMessageAt", repliedAt), tokenPlan: result.tokenPlan };
    state.set("session", after);
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
      messages: [said(turn, work), replied(turn, work, result, answer, repliedAt)],
      usage: result.usage && { ...result.usage, id: usageIdOf(turn.turnId) },
    };
    state.remove("closed");
    outbox.add(entry);
    // Whoever ended it while this ran has ended it: the reply belongs to it and doesn't open it again.
    if (isEnded(state, session)) {
      const ended = { sessionId: session.id, expiredAt: repliedAt };
      state.set("ended", ended);
      outbox.add({ ...entry, id: uuidv7(now), closed: ended, turn: null, messages: [], usage: null });
    }
    return answer;
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
    timing_ms: {
      total: now - work.receivedAt,
      admission: turn.admittedAt - work.receivedAt,
      orchestrator: result.orchestratorMs,
    },
  };
}

const said = (turn: StoredTurn, work: Work): Omit<Message, "seq"> => ({
  id: inboundMessageIdOf(turn.turnId),
  role: "user",
  content: work.content,
  createdAt: work.saidAt,
  requestId: turn.requestId,
  traceId: work.traceId,
  channelMessageId: work.origin?.channelMessageId ?? null,
  metadata: { ...work.metadata, channel: work.channel },
});

const replied = (
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
