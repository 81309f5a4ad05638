import { existingMessages } from "../db/messages.ts";
import type { Deps } from "../deps.ts";
import type { CarriedEntry, LedgerMessage } from "../domain/ledger-message.ts";
import type { PendingEntries } from "../domain/ledger.ts";
import { saveEntries } from "../services/ledger.ts";
import { EVENT } from "../telemetry/events.ts";
import { pullLedger } from "./pull-ledger.ts";

type LedgerDeps = Pick<Deps, "db" | "log" | "conversation" | "now" | "caches" | "read">;

/**
 * Writes a batch of the ledger's queue: first the entries in its messages, then the entries of conversations that Postgres
 * lacks.
 */
export async function writeLedger(deps: LedgerDeps, messages: readonly LedgerMessage[]): Promise<void> {
  await writeCarried(
    deps,
    messages.flatMap((message) => (message.kind === "entries" ? message.entries : [])),
  );
  const missing = await confirmWritten(
    deps,
    messages.filter((message) => message.kind === "pending"),
  );
  const announced = messages.flatMap((message) => (message.kind === "pull" ? [message.address] : []));
  await pullLedger(deps, [...announced, ...missing]);
}

/** Writes entries of messages. A failure is only logged: the conversations look their entries up and send them again. */
async function writeCarried(deps: LedgerDeps, carried: readonly CarriedEntry[]): Promise<void> {
  if (carried.length === 0) return;
  const startedAt = deps.now();
  const failures = await saveEntries(
    deps,
    carried.map(({ entry }) => ({ address: entry.address, items: [entry] })),
  ).catch((error: unknown) => deps.log.warn(EVENT.ledgerWriteFailed, { error, entries: carried.length }) ?? null);
  if (failures === null) return;
  for (const [address, error] of failures) deps.log.warn(EVENT.ledgerWriteFailed, { error, address });
  const written = carried.filter(({ entry }) => !failures.has(entry.address));
  for (const { generation, position, entry } of written) {
    deps.caches.writtenEntries.add(entry.address, generation, position);
  }
  deps.log.info(EVENT.ledgerWritten, { entries: written.length, duration_ms: deps.now() - startedAt });
}

/**
 * Confirms pending entries that are in Postgres to their conversations, from one query for all. Returns the addresses of
 * conversations with an entry that Postgres lacks or that no row proves.
 */
async function confirmWritten(deps: LedgerDeps, pending: readonly PendingEntries[]): Promise<string[]> {
  if (pending.length === 0) return [];
  const asked = pending.flatMap(({ entries }) => entries.flatMap(({ messageId }) => messageId ?? []));
  const existing = asked.length === 0 ? new Set<string>() : await deps.read(existingMessages(asked));
  const missing = await Promise.all(
    pending.map(async ({ address, generation, entries }) => {
      const written = entries.filter(({ messageId }) => messageId !== null && existing.has(messageId));
      if (written.length < entries.length) return [address];
      try {
        await deps.conversation(address).confirm({ generation, positions: written.map(({ position }) => position) });
      } catch (error) {
        // The conversation looks its entries up again.
        deps.log.warn(EVENT.ledgerConfirmFailed, { error, address });
      }
      return [];
    }),
  );
  return missing.flat();
}
