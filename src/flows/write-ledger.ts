import type { Deps } from "../deps.ts";
import type { LedgerPull } from "../domain/ledger.ts";
import { MAX_BATCH_BYTES, saveEntries, saveNotices } from "../services/ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/** A conversation that is still not empty after this many pulls rings again. */
const MAX_ROUNDS = 20;

type LedgerDeps = Pick<Deps, "db" | "log" | "conversation" | "now">;
type Pulled = LedgerPull & { address: string };

/**
 * The conversations that rang give what Postgres does not know; it is written in one transaction, and only then they may
 * forget it. What fails here is not lost and not marked: the conversations ring again.
 */
export async function writeLedger(deps: LedgerDeps, addresses: readonly string[]): Promise<void> {
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
        const { entries, notices, upTo, more } = await conversation(address).pull(share);
        return [{ address, entries, notices, upTo, more }];
      } catch (error) {
        log.warn(EVENT.ledgerPullFailed, { error, address });
        return [];
      }
    }),
  );
  return pulls.flat().filter(({ entries, notices }) => entries.length + notices.length > 0);
}

/** Those that have more. */
async function confirmAll({ conversation, log }: LedgerDeps, pulled: readonly Pulled[]): Promise<string[]> {
  const confirmed = await Promise.all(
    pulled.map(async ({ address, upTo }) => {
      try {
        const { waiting } = await conversation(address).confirm(upTo);
        return waiting > 0 ? [address] : [];
      } catch (error) {
        // It keeps what was written and brings it again; the same rows change nothing.
        log.warn(EVENT.ledgerConfirmFailed, { error, address });
        return [];
      }
    }),
  );
  return confirmed.flat();
}
