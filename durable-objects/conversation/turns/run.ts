import { inboundMessageIdOf } from "../../../src/domain/ids.ts";
import { answerTurn } from "./answer.ts";
import type { Components, ConversationHost } from "../create.ts";
import { settleTurn } from "./settle.ts";
import type { StoredTurn } from "../stores/turns.ts";
import type { Answer } from "../../../src/domain/submission.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";

/** Runs a turn and settles it. Null when another run has replaced this one: then nothing is changed. */
export async function runTurn(
  { storage, state, turns, outbox, ledgerNotifier, alarm, correspondence }: Components,
  { address, deps }: Pick<ConversationHost, "address" | "deps">,
  turn: StoredTurn,
  signal: AbortSignal,
): Promise<Answer | null> {
  const { work } = turn;
  const session = state.get("session");
  const bundle = state.get("bundle");
  if (work === null || session === null || bundle === null) throw new Error("A turn lacks what it is run with");
  const adapter = {
    ...work,
    bundle,
    session,
    message: { ...work, id: inboundMessageIdOf(turn.turnId) },
    history: outbox.history(session.id).map(({ role, content }) => ({ role, content })),
    now: deps.now(),
  };
  const result = await answerTurn(deps, { turn, adapter, signal });

  const now = deps.now();
  const lifetimeMs = work.origin ? WEBHOOK_MEMORY_MS : deps.config.idempotencyTtlMinutes * 60_000;
  const answer = settleTurn({ storage, state, turns, outbox }, turn, work, result, { address, lifetimeMs, now });
  if (answer === null) return null;
  if (work.origin) {
    const reply = { id: answer.message_id, content: answer.text };
    correspondence.send(reply, work.origin, work.origin.channelMessageId);
  }
  alarm.noLaterThan(ledgerNotifier.notify(now));
  return answer;
}
