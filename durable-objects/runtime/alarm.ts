/** Does the work that is due and returns when to run next (epoch ms), or null. */
export type AlarmTask = (now: number) => number | null;

/** Retry interval of a task that threw. */
const AFTER_FAILURE_MS = 30_000;

/**
 * Multiplexes an object's one alarm over several tasks. Each task derives what is due from the object's own tables, so an
 * alarm that fires late, twice or after a restart does the same work; only the earliest time is kept.
 */
export class Alarm {
  readonly #tasks: readonly AlarmTask[];
  readonly #set: (at: number) => void;
  readonly #report: (error: unknown) => void;
  /** Unknown in a new incarnation: the first call sets it again. */
  #at = Number.POSITIVE_INFINITY;

  /** `set` sets the platform's alarm; `report` logs what a task threw. */
  constructor(tasks: readonly AlarmTask[], set: (at: number) => void, report: (error: unknown) => void) {
    this.#tasks = tasks;
    this.#set = set;
    this.#report = report;
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
