import type { Role } from "./role.ts";

/** A message as it is shown. `createdAt` is epoch milliseconds. */
export type HistoryMessage = {
  id: string;
  role: Role;
  content: string;
  createdAt: number;
  seq: number;
  metadata: Record<string, unknown>;
};

type Sorted = Pick<HistoryMessage, "createdAt" | "seq">;

/** Newest first; `seq` decides between messages of one millisecond. */
export const newestFirst = (a: Sorted, b: Sorted): number => b.createdAt - a.createdAt || b.seq - a.seq;

/** The part of the saved messages that is needed for a page, when `unsaved` newer or older ones stand among them. */
export function savedWindow(unsaved: number, offset: number, limit: number): { offset: number; limit: number } {
  const from = Math.max(0, offset - unsaved);
  return { offset: from, limit: offset + limit - from };
}

/**
 * `limit` messages after the first `offset` of all there are, newest first. `unsaved` are the newest `offset + limit` of
 * those that are not saved; `saved` is the `savedWindow` of the others.
 */
export function pageOf<Message extends Sorted>(
  unsaved: readonly Message[],
  saved: readonly Message[],
  { offset, limit }: { offset: number; limit: number },
): Message[] {
  const skipped = savedWindow(unsaved.length, offset, limit).offset;
  const [first] = saved;
  if (skipped === 0) return [...unsaved, ...saved].toSorted(newestFirst).slice(offset, offset + limit);
  // Saved messages before the window are not here; unsaved ones among them only count.
  if (first === undefined) return [];
  const older = unsaved.filter((message) => newestFirst(first, message) < 0);
  const before = skipped + unsaved.length - older.length;
  return [...older, ...saved].toSorted(newestFirst).slice(offset - before, offset - before + limit);
}
