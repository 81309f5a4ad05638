import type { Deps } from "../deps.ts";
import { readLedgerMessage } from "../domain/ledger-message.ts";
import { writeLedger } from "../flows/write-ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * Writes a batch of ledger messages. The batch is always acknowledged: a conversation sends unwritten entries again by its
 * own alarm, with backoff, so a retry by the queue would only repeat it.
 */
export async function consumeLedger(deps: Deps, batch: MessageBatch): Promise<void> {
  try {
    await writeLedger(
      deps,
      batch.messages.flatMap(({ body }) => readLedgerMessage(body) ?? invalid(deps)),
    );
  } catch (error) {
    deps.log.error(EVENT.ledgerWriteFailed, { error, messages: batch.messages.length });
  }
  batch.ackAll();
}

/** Every entry is still in its conversation, so a message that is not understood loses nothing. */
function invalid({ log }: Pick<Deps, "log">): [] {
  log.error(EVENT.ledgerMessageInvalid);
  return [];
}
