import type { Deps } from "../deps.ts";
import type { LedgerPull } from "../domain/ledger.ts";
import { saveEntries, saveNotices } from "../services/ledger.ts";
import { EVENT } from "../telemetry/events.ts";

/** Bytes of entries in one round, as JSON, so that the round fits into memory. */
const MAX_ROUND_BYTES = 4_000_000;

/** A conversation that has more after this many pulls notifies the ledger again. */
const MAX_ROUNDS = 20;

type LedgerDeps = Pick<Deps, "db" | "log" | "conversation" | "now">;
type Pulled = LedgerPull & { address: string };

/**
 * Pulls the entries of conversations, writes them and confirms what is written. A conversation keeps entries that failed
 * and notifies the ledger again; it doesn't hold up the others, and its error is thrown when they are written.
 */
export async function pullLedger(deps: LedgerDeps, addresses: readonly string[]): Promise<void> {
  let waiting = [...new Set(addresses)];
  const failures = new Map<string, unknown>();
  for (let round = 0; round < MAX_ROUNDS && waiting.length > 0; round += 1) {
    const pulled = await pullAll(deps, waiting);
    if (pulled.length > 0) {
      for (const [address, error] of await save(deps, pulled)) failures.set(address, error);
    }
    waiting = await confirmAll(
      deps,
      pulled.filter(({ address }) => !failures.has(address)),
    );
  }
  for (const [address, error] of failures) deps.log.error(EVENT.ledgerWriteFailed, { error, address });
  for (const error of failures.values()) throw error;
}

/** Entries before the notices about them. Returns the conversations that could not be written, with the error of each. */
async function save(deps: LedgerDeps, pulled: readonly Pulled[]): Promise<Map<string, unknown>> {
  const startedAt = deps.now();
  const failures = new Map(
    await saveEntries(
      deps,
      pulled.map(({ address, entries }) => ({ address, items: entries })),
    ),
  );
  const saved = pulled.filter(({ address }) => !failures.has(address));
  const notices = saved.map(({ address, notices }) => ({ address, items: notices }));
  for (const [address, error] of await saveNotices(deps, notices)) failures.set(address, error);
  deps.log.info(EVENT.ledgerWritten, {
    conversations: saved.length,
    entries: saved.reduce((sum, { entries }) => sum + entries.length, 0),
    notices: saved.reduce((sum, { notices }) => sum + notices.length, 0),
    duration_ms: deps.now() - startedAt,
  });
  return failures;
}

async function pullAll({ conversation, log }: LedgerDeps, addresses: readonly string[]): Promise<Pulled[]> {
  const share = Math.floor(MAX_ROUND_BYTES / addresses.length);
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
