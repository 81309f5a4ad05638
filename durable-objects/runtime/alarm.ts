/** Does the work that is due and returns when to run next (epoch ms), or null. */
export type AlarmTask = (now: number) => number | null;

/** Retry interval of a task that threw. */
export const AFTER_FAILURE_MS = 30_000;

type Options = {
  /** The time the platform's alarm is set to, or null: a new incarnation must not postpone it. */
  at: number | null;
  /** The current time. */
  now: number;
  /** Sets the platform's alarm. */
  set: (at: number) => void;
  /** Logs what a task threw. */
  report: (error: unknown) => void;
};

/**
 * Multiplexes an object's one alarm over several tasks. Each task derives what is due from the object's own tables, so an
 * alarm that fires late, twice or after a restart does the same work; only the earliest time is kept.
 */
export class Alarm {
  readonly #tasks: readonly AlarmTask[];
  readonly #set: (at: number) => void;
  readonly #report: (error: unknown) => void;
  #at: number;

  constructor(tasks: readonly AlarmTask[], { at, now, set, report }: Options) {
    this.#tasks = tasks;
    this.#at = at ?? Number.POSITIVE_INFINITY;
    this.#set = set;
    this.#report = report;
    // An overdue alarm may have been lost in a crash: waiting for it would leave the object without one.
    if (this.#at < now) {
      this.#at = Number.POSITIVE_INFINITY;
      this.noLaterThan(now);
    }
  }

  /** Sets the alarm to `at` unless it is set to an earlier time. */
  noLaterThan(at: number): void {
    if (at >= this.#at) return;
    this.#at = at;
    this.#set(at);
  }

  /** Runs every task. Never throws: the platform stops retrying an alarm handler after six failures. */
  run(now: number): void {
    this.#at = Number.POSITIVE_INFINITY;
    this.noLaterThan(Math.min(...this.#tasks.map((task) => this.#runTask(task, now) ?? Number.POSITIVE_INFINITY)));
  }

  #runTask(task: AlarmTask, now: number): number | null {
    try {
      return task(now);
    } catch (error) {
      this.#report(error);
      return now + AFTER_FAILURE_MS;
    }
  }
}
