/**
 * The timer of one broadcast: it rings the queue until it is told that nothing is left to do. Whatever happens to a ring,
 * to the one who answers it or to the machine, there is another one.
 */
export type BroadcastTimer = {
  /** Rings from now on. Called before anything is written that it has to ring for. */
  start(): Promise<void>;
  /** Which start this is, for a later `rest`; null when nothing was started since all was done. */
  current(): Promise<string | null>;
  /** The next ring is due in so many milliseconds; null for none. Nothing happens if it was started again since. */
  rest(start: string | null, dueInMs: number | null): Promise<void>;
};
