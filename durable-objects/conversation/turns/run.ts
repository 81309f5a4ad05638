import { inboundMessageIdOf } from "../../../src/domain/ids.ts";
import { toHistoryEntry } from "../../../src/domain/adapter.ts";
import { answerTurn } from "./answer.ts";
import type { Stores } from "../stores.ts";
import type { ObjectDeps } from "../../../src/deps.ts";
import type { Outbound, RecordedMessage } from "../../../src/rpc/conversation.ts";
import { isCarried } from "../../../src/domain/ledger.ts";
import type { StoredEntry } from "../../../src/domain/ledger.ts";
import { settleTurn } from "./settle.ts";
import type { StoredTurn } from "../stores/turn.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";

type Options = {
  address: string;
  deps: Pick<ObjectDeps, "config" | "log" | "now" | "orchestrator">;
  /** Queues a reply for delivery. Called in the step that settles the turn. */
  send: (reply: Pick<RecordedMessage, "id" | "content">, outbound: Outbound, replyTo: string | null) => void;
  /** Announces entries to the ledger. */
  notifyLedger: () => void;
  /** The turn's entry leaves with its answer. */
  handOver: () => void;
  hasWaiter: (turnId: string) => boolean;
};

export type Settled = {
  answer: Answer;
  /** For the waiting caller to carry to the ledger; null when it is announced instead. */
  entry: StoredEntry | null;
};

/** Runs a turn and settles it. Returns null, and changes nothing, when another run has replaced this one. */
export async function runTurn(
  stores: Stores,
  { address, deps, send, notifyLedger, handOver, hasWaiter }: Options,
  turn: StoredTurn,
  signal: AbortSignal,
): Promise<Settled | null> {
  const { state, outbox } = stores;
  const { work } = turn;
  const session = state.get("session");
  const bundle = state.get("bundle");
  if (work === null || session === null || bundle === null) throw new Error("A turn lacks what it is run with");
  const adapter = {
    ...work,
    bundle,
    session,
    message: { ...work, id: inboundMessageIdOf(turn.turnId) },
    history: outbox.history(session.id).map(toHistoryEntry),
    now: deps.now(),
  };
  const result = await answerTurn(deps, { turn, adapter, signal });

  const now = deps.now();
  const lifetimeMs = work.origin ? WEBHOOK_MEMORY_MS : deps.config.idempotencyTtlMinutes * 60_000;
  const settled = settleTurn(stores, turn, work, result, { address, lifetimeMs, now });
  if (settled === null) return null;
  const { answer, entry } = settled;
  if (entry !== null && isCarried(entry) && hasWaiter(turn.turnId)) {
    handOver();
    return { answer, entry };
  }
  if (work.origin) {
    const reply = { id: answer.message_id, content: answer.text };
    send(reply, work.origin, work.origin.channelMessageId);
  }
  notifyLedger();
  return { answer, entry: null };
}
