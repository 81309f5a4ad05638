import type { Role } from "./role.ts";

/** A message of the history. `createdAt` is epoch milliseconds. */
export type HistoryMessage = {
  id: string;
  role: Role;
  content: string;
  createdAt: number;
  seq: number;
  metadata: Record<string, unknown>;
};

/** A message that a reply quotes. */
export type QuotedMessage = { id: string; role: Role; content: string };

type Sorted = Pick<HistoryMessage, "createdAt" | "seq">;

/** Sorts newest first; `seq` orders messages of one millisecond. */
export const newestFirst = (a: Sorted, b: Sorted): number => b.createdAt - a.createdAt || b.seq - a.seq;

/** The range of saved messages that a page can hold when `unsaved` messages are merged into them. */
export function savedWindow(unsaved: number, offset: number, limit: number): { offset: number; limit: number } {
  const from = Math.max(0, offset - unsaved);
  return { offset: from, limit: offset + limit - from };
}

/**
 * Returns `limit` of all messages after the first `offset`, newest first. `unsaved` holds the newest `offset + limit`
 * unsaved messages; `saved` holds the `savedWindow` of the saved ones. With `cutAt`, the oldest of `unsaved`, older ones were
 * left out: nothing older is on the page.
 */
export function pageOf<Message extends Sorted>(
  unsaved: readonly Message[],
  saved: readonly Message[],
  { offset, limit }: { offset: number; limit: number },
  cutAt: Sorted | null = null,
): Message[] {
  if (cutAt !== null) {
    const known = [...unsaved, ...saved.filter((message) => newestFirst(message, cutAt) < 0)];
    return known.toSorted(newestFirst).slice(offset, offset + limit);
  }
  const skipped = savedWindow(unsaved.length, offset, limit).offset;
  const [first] = saved;
  if (skipped === 0) return [...unsaved, ...saved].toSorted(newestFirst).slice(offset, offset + limit);
  // Saved messages before the window were not read; unsaved ones among them only count towards the offset.
  if (first === undefined) return [];
  const older = unsaved.filter((message) => newestFirst(first, message) < 0);
  const before = skipped + unsaved.length - older.length;
  return [...older, ...saved].toSorted(newestFirst).slice(offset - before, offset - before + limit);
}
