import { isRecord } from "./json.ts";
import { placeEntry } from "./ledger.ts";
import type { LedgerEntry, NewEntry, PendingEntries, StoredEntry } from "./ledger.ts";

/** An entry returned with its answer, with its position in its conversation. */
export type CarriedEntry = { generation: string; position: number; entry: LedgerEntry };

/**
 * A message of the queue `ledger`: entries to write, pending entries to look up, or the address of a conversation to pull
 * entries from.
 */
export type LedgerMessage =
  | { kind: "entries"; entries: CarriedEntry[] }
  | ({ kind: "pending" } & PendingEntries)
  | { kind: "pull"; address: string };

/** Entries as one queue message. They are JSON already and are not parsed for it. */
export function entriesMessage(entries: readonly StoredEntry[]): string {
  const placed = entries.map(
    ({ generation, position, json }) => `{"generation":"${generation}","position":${position},"entry":${json}}`,
  );
  return `{"kind":"entries","entries":[${placed.join(",")}]}`;
}

export const pullMessage = (address: string): string => JSON.stringify({ kind: "pull", address });

export const pendingMessage = (pending: PendingEntries): string => JSON.stringify({ kind: "pending", ...pending });

/**
 * Reads a message of the queue; null for one that is not understood. A version before this one sent the address alone.
 */
export function readLedgerMessage(body: unknown): LedgerMessage | null {
  if (typeof body !== "string") return null;
  if (!body.startsWith("{")) return { kind: "pull", address: body };
  const message = parseObject(body);
  switch (message?.kind) {
    case "entries":
      return { kind: "entries", entries: (message.entries as Carried[]).map(place) };
    case "pending":
    case "pull":
      return message as LedgerMessage;
    default:
      return null;
  }
}

/** null for text that is no JSON object. */
function parseObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : null;
  } catch {
    // The caller logs a message that is not understood.
    return null;
  }
}

type Carried = { generation: string; position: number; entry: NewEntry };

const place = ({ generation, position, entry }: Carried): CarriedEntry => ({
  generation,
  position,
  entry: placeEntry(entry, position),
});
