import type { Deps } from "../deps.ts";
import { writeLedger } from "../flows/write-ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * Writes the ledger entries of a queue batch of conversation addresses. The batch is always acknowledged: a conversation
 * with pending entries notifies again with backoff, so a retry by the queue would only repeat it.
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
