import { blank, isRevoked, keepsRevoked } from "../../../src/domain/amendment.ts";
import { inboundMessageIdOf, replyMessageIdOf } from "../../../src/domain/ids.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import type { Message } from "../../../src/domain/message.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Stores } from "../stores.ts";
import type { StoredTurn, Work } from "../stores/turn.ts";

type Options = {
  address: string;
  now: number;
  /** Recorded with the message as the assistant's, and sent by the caller. */
  greeting?: string | null;
};

/** Writes a channel message that gets no answer of the model to the outbox, and closes its turn. */
export function recordMessage(
  { state, turns, outbox }: Pick<Stores, "state" | "turns" | "outbox">,
  turn: StoredTurn,
  { id, role }: Pick<InboundMessage, "id" | "role">,
  work: Work,
  session: Session,
  { address, now, greeting = null }: Options,
): void {
  const isKept = !isRevoked(work) || keepsRevoked(state.get("bundle")?.config?.policy);
  const { content, metadata } = isKept ? work : blank(work);
  const shared = { requestId: turn.requestId, traceId: work.traceId };
  const message: Omit<Message, "seq"> = {
    ...shared,
    id: inboundMessageIdOf(turn.turnId),
    role,
    content,
    createdAt: work.saidAt,
    channelMessageId: id,
    metadata: { ...metadata, channel: work.channel },
  };
  const messages = [message];
  if (greeting !== null) {
    const createdAt = Math.max(now, session.lastMessageAt + 1);
    messages.push({
      ...shared,
      id: replyMessageIdOf(turn.turnId),
      role: "assistant",
      content: greeting,
      createdAt,
      channelMessageId: null,
      metadata: { channel: work.channel, greeting: true },
    });
  }
  const lastReply = messages.findLast((said) => said.role === "assistant");
  const after: Session = {
    ...session,
    lastMessageAt: Math.max(session.lastMessageAt, ...messages.map(({ createdAt }) => createdAt)),
    lastAssistantMessageAt: lastReply?.createdAt ?? session.lastAssistantMessageAt,
  };
  state.set("session", after);
  const closed = state.get("closed");
  outbox.add({ id: turn.turnId, address, session: after, closed, turn: null, messages, usage: null });
  state.remove("closed");
  turns.close(turn, "done", WEBHOOK_MEMORY_MS, now);
}
