import type { Deps } from "../deps.ts";
import type { LedgerPull } from "../domain/ledger.ts";
import { MAX_BATCH_BYTES, saveEntries, saveNotices } from "../services/ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/** A conversation that has more after this many pulls notifies the ledger again. */
const MAX_ROUNDS = 20;

type LedgerDeps = Pick<Deps, "db" | "log" | "conversation" | "now">;
type Pulled = LedgerPull & { address: string };

/**
 * Pulls the entries of conversations, writes them and confirms what is written. A conversation keeps entries that failed
 * and notifies the ledger again.
 */
export async function pullLedger(deps: LedgerDeps, addresses: readonly string[]): Promise<void> {
  let waiting = [...new Set(addresses)];
  for (let round = 0; round < MAX_ROUNDS && waiting.length > 0; round += 1) {
    const pulled = await pullAll(deps, waiting);
    const entries = pulled.flatMap((pull) => pull.entries);
    const notices = pulled.flatMap((pull) => pull.notices);
    if (pulled.length > 0) {
      const startedAt = deps.now();
      await saveEntries(deps, entries);
      await saveNotices(deps, notices);
      deps.log.info(EVENT.ledgerWritten, {
        conversations: pulled.length,
        entries: entries.length,
        notices: notices.length,
        duration_ms: deps.now() - startedAt,
      });
    }
    waiting = await confirmAll(deps, pulled);
  }
}

async function pullAll({ conversation, log }: LedgerDeps, addresses: readonly string[]): Promise<Pulled[]> {
  const share = Math.floor(MAX_BATCH_BYTES / addresses.length);
  const pulls = await Promise.all(
    addresses.map(async (address) => {
      try {
        return [{ address, ...(await conversation(address).pull(share)) }];
      } catch (error) {
        log.warn(EVENT.ledgerPullFailed, { error, address });
        return [];
      }
    }),
  );
  return pulls.flat().filter(({ entries, notices }) => entries.length + notices.length > 0);
}

/** Returns the addresses of conversations that have more entries. */
async function confirmAll({ conversation, log }: LedgerDeps, pulled: readonly Pulled[]): Promise<string[]> {
  const confirmed = await Promise.all(
    pulled.map(async ({ address, generation, positions }) => {
      try {
        const { waiting } = await conversation(address).confirm({ generation, positions });
        return waiting > 0 ? [address] : [];
      } catch (error) {
        // The conversation brings the entries again, and writing them twice changes nothing.
        log.warn(EVENT.ledgerConfirmFailed, { error, address });
        return [];
      }
    }),
  );
  return confirmed.flat();
}
