import type { Deps } from "../deps.ts";
import { writeLedger } from "../flows/write-ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * The doorbell was rung. Always acknowledged: a conversation whose entries could not be written rings again by itself, with
 * backoff, and a ring that is retried here would only add to the noise.
 */
export async function consumeLedger(deps: Deps, batch: MessageBatch): Promise<void> {
  try {
    await writeLedger(
      deps,
      batch.messages.map((message) => String(message.body)),
    );
  } catch (error) {
    deps.log.error(EVENT.ledgerWriteFailed, { error, conversations: batch.messages.length });
  }
  batch.ackAll();
}
