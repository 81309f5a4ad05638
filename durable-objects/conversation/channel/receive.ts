import type { WebhookBatch, Received } from "../../../src/rpc/conversation.ts";
import { newTurnId } from "../../../src/domain/ids.ts";
import { requestIdOf } from "../../../src/domain/idempotency.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "../stores/state.ts";
import type { Outbox } from "../stores/outbox.ts";
import type { StoredTurn } from "../stores/turn.ts";
import type { TurnStore } from "../stores/turns.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";

/** How many messages of one conversation may wait. A webhook can't be told to come back, so it is far more than a caller gets. */
const MAX_WAITING_MESSAGES = 1_000;

type Parts = { storage: Storage; state: StateStore; turns: TurnStore; outbox: Outbox };
type Options = { address: string; now: number };

/**
 * Takes in messages as they came, each id once, at the end of the line. One synchronous step: when it is over they are
 * written, and nobody has been asked anything.
 */
export function receive(parts: Parts, arrival: WebhookBatch, options: Options): Omit<Received, "unmatched"> {
  const { storage, turns } = parts;
  return storage.transactionSync(() => {
    let accepted = 0;
    for (const message of arrival.messages) {
      if (turns.admission(callOf(message.id, options), () => true, options.now).kind !== "new") continue;
      take(parts, message, arrival, options);
      accepted += 1;
    }
    return { accepted, duplicates: arrival.messages.length - accepted };
  });
}

/** By its id a message is known, whatever else it says the second time. */
const callOf = (id: string, { address }: Options) => ({
  scope: address,
  requestId: requestIdOf(id),
  fingerprint: "webhook",
});

function take(
  { state, turns, outbox }: Parts,
  message: InboundMessage,
  { traceId, receivedAt }: WebhookBatch,
  options: Options,
): void {
  const { now } = options;
  const before = Math.max(state.get("session")?.lastMessageAt ?? 0, state.get("lastSaidAt") ?? 0);
  const saidAt = Math.max(now, before + 1);
  const turn = { ...callOf(message.id, options), turnId: newTurnId(now), sessionId: "", admittedAt: saidAt };
  const isFull = turns.pendingCount() >= MAX_WAITING_MESSAGES;
  turns.enqueue({ ...turn, inbound: { message, traceId, receivedAt } });
  state.set("lastSaidAt", saidAt);
  if (message.role === "user") state.set("lastHeardAt", Math.max(message.sentAt, state.get("lastHeardAt") ?? 0));
  const enqueued = isFull ? turns.find(turn.scope, turn.requestId) : null;
  if (enqueued !== null) reject({ turns, outbox }, enqueued, { reason: "too_many_waiting", brandId: null }, options);
}

/** Ends a turn that nothing can be made of, and keeps what came for somebody to look at. */
export function reject(
  { turns, outbox }: Pick<Parts, "turns" | "outbox">,
  turn: StoredTurn,
  { reason, brandId }: { reason: string; brandId: string | null },
  { address, now }: Options,
): void {
  turns.close(turn, "rejected", WEBHOOK_MEMORY_MS, now);
  outbox.addNotice({
    kind: "dead_letter",
    id: turn.turnId,
    brandId,
    address,
    source: "whatsapp",
    reason,
    payload: { message: turn.inbound?.message ?? turn.work, trace_id: (turn.inbound ?? turn.work)?.traceId },
  });
}
