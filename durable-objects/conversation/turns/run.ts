import type { ObjectDeps } from "../../../src/deps.ts";
import { inboundMessageIdOf } from "../../../src/domain/ids.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import type { StoredEntry } from "../../../src/domain/ledger.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import { promptHistory } from "../../../src/domain/prompt-history.ts";
import { isGivenUp } from "../../../src/domain/turn.ts";
import type { Outbound, RecordedMessage } from "../../../src/rpc/conversation.ts";
import type { Stores } from "../stores.ts";
import type { StoredTurn } from "../stores/turn.ts";
import { answerTurn } from "./answer.ts";
import { quoteOf } from "./quote.ts";
import { settleTurn } from "./settle.ts";

type Options = {
  address: string;
  deps: Pick<ObjectDeps, "config" | "log" | "now" | "orchestrator">;
  hasWaiter: (turnId: string) => boolean;
  /** Queues a reply for delivery. Called in the transaction that settles the turn. */
  queueReply: (reply: Pick<RecordedMessage, "id" | "content">, outbound: Outbound, replyTo: string | null) => void;
  /** Whether the entry leaves with its answer. Called once the turn is settled. */
  handOver: (entry: StoredEntry) => boolean;
  /** The turn is settled: an entry waits for the ledger, and a reply for delivery. */
  committed: () => void;
  /** Rejects the waiter of a turn that ended without an answer. */
  failTurn: (turnId: string, error: unknown) => void;
};

export type Settled = {
  answer: Answer;
  /** For the waiting caller to carry to the ledger; null when it is announced instead. */
  entry: StoredEntry | null;
};

/**
 * Runs a turn and settles it. Returns null, and changes nothing, when another run has replaced this one. A turn that can't
 * even be given its default reply after its last run becomes a dead letter, so that it never blocks the queue.
 */
export async function runTurn(
  stores: Stores,
  options: Options,
  turn: StoredTurn,
  signal: AbortSignal,
): Promise<Settled | null> {
  try {
    return await answerAndSettle(stores, options, turn, signal);
  } catch (error) {
    const { deps, address, committed, failTurn } = options;
    const current = stores.turns.find(turn.scope, turn.requestId);
    if (!isGivenUp(turn) || current?.state !== "running" || current.fence !== turn.fence) throw error;
    abandon(stores, turn, { address, now: deps.now() });
    committed();
    failTurn(turn.turnId, error);
    return null;
  }
}

async function answerAndSettle(
  stores: Stores,
  { address, deps, hasWaiter, queueReply, handOver, committed }: Options,
  turn: StoredTurn,
  signal: AbortSignal,
): Promise<Settled | null> {
  const { storage, state, outbox, turns } = stores;
  const { work } = turn;
  const session = state.get("session");
  const bundle = state.get("bundle");
  if (work === null || session === null || bundle === null) throw new Error("A turn lacks its session or its instance");
  const adapter = {
    ...work,
    bundle,
    session,
    message: { ...work, id: inboundMessageIdOf(turn.turnId), metadata: { ...work.metadata, ...quoteOf(stores, work) } },
    history: promptHistory(outbox.history(session.id)),
    now: deps.now(),
  };
  const result = await answerTurn(deps, { turn, adapter, signal });

  const now = deps.now();
  const lifetimeMs = work.origin ? WEBHOOK_MEMORY_MS : deps.config.idempotencyTtlMinutes * 60_000;
  const settled = storage.transactionSync(() => {
    // The message may have been edited during the run.
    const said = turns.find(turn.scope, turn.requestId)?.work ?? work;
    const settled = settleTurn(stores, turn, said, result, { address, lifetimeMs, now });
    if (settled !== null && work.origin) {
      const { message_id: id, text: content } = settled.answer;
      queueReply({ id, content }, work.origin, work.origin.channelMessageId);
    }
    return settled;
  });
  if (settled === null) return null;
  const { answer, entry } = settled;
  if (entry !== null && hasWaiter(turn.turnId) && handOver(entry)) return { answer, entry };
  committed();
  return { answer, entry: null };
}

/** Ends a turn without an answer. An API caller may send the request id again. */
function abandon(
  { storage, state, turns, outbox }: Stores,
  turn: StoredTurn,
  { address, now }: { address: string; now: number },
): void {
  storage.transactionSync(() => {
    turns.close(turn, "rejected", turn.work?.origin ? WEBHOOK_MEMORY_MS : 0, now);
    outbox.addNotice({
      kind: "dead_letter",
      id: turn.turnId,
      brandId: state.get("owner")?.brandId ?? null,
      address,
      source: turn.work?.channel ?? "api",
      reason: "turn_failed",
      payload: { message: turn.work, trace_id: turn.work?.traceId },
    });
  });
}
