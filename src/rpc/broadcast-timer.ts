/** The timer of one broadcast: enqueues the broadcast repeatedly until it is finished. */
export type BroadcastTimer = {
  /** Starts the timer. Called before the recipients are written, so that none is written without a timer. */
  start(): Promise<void>;
  /** Identifies the latest start, for a later `rest`; null when the timer is not running. */
  current(): Promise<string | null>;
  /** Schedules the next alarm, or stops the timer (null). Ignored when the timer was started again since `start`. */
  rest(start: string | null, dueInMs: number | null): Promise<void>;
};
