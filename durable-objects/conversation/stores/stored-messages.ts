import type { NewEntry } from "../../../src/domain/ledger.ts";
import type { Storage } from "../../runtime/storage.ts";

/** A message as its entry holds it. */
export type StoredMessage = NewEntry["messages"][number];

/** A message by its own id, or by its id at the channel. */
export type MessageKey = { id: string } | { channelMessageId: string };

const isMeant = (message: StoredMessage, key: MessageKey): boolean =>
  "id" in key ? message.id === key.id : message.channelMessageId === key.channelMessageId;

/** A stored message; null when there is none. */
export function findMessage(storage: Storage, key: MessageKey): StoredMessage | null {
  const messages = entriesWith(storage, key).flatMap(({ entry }) => entry.messages);
  return messages.find((message) => isMeant(message, key)) ?? null;
}

/** Changes stored messages in place. Returns whether there are any. */
export function amendMessages(
  storage: Storage,
  key: MessageKey,
  change: (message: StoredMessage) => StoredMessage,
): boolean {
  const entries = entriesWith(storage, key);
  for (const { position, entry } of entries) {
    const messages = entry.messages.map((message) => (isMeant(message, key) ? change(message) : message));
    const json = JSON.stringify({ ...entry, messages });
    storage.sql.exec("UPDATE entries SET entry = ? WHERE position = ?", json, position);
  }
  return entries.length > 0;
}

const entriesWith = (storage: Storage, key: MessageKey): { position: number; entry: NewEntry }[] =>
  storage.sql
    .exec<{ position: number; entry: string }>(
      "SELECT position, entry FROM entries WHERE session_id <> '' AND instr(entry, ?) > 0",
      JSON.stringify("id" in key ? key.id : key.channelMessageId),
    )
    .toArray()
    .map(({ position, entry }) => ({ position, entry: JSON.parse(entry) as NewEntry }))
    .filter(({ entry }) => entry.messages.some((message) => isMeant(message, key)));
