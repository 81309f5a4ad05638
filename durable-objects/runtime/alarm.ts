/** Does what is due and says when it wants to be looked at again (epoch milliseconds), or null when it has nothing left. */
export type AlarmTask = (now: number) => number | null;

/** After a duty threw: late enough not to spin, early enough to be forgiven. */
const AFTER_FAILURE_MS = 30_000;

/**
 * An object has one alarm, and several things that want to be woken. What is due is read off the object's own tables each
 * time, so an alarm that comes late, twice or after a restart finds the same truth; only the earliest time is kept.
 */
export class Alarm {
  readonly #duties: readonly AlarmTask[];
  readonly #set: (at: number) => void;
  readonly #report: (error: unknown) => void;
  /** Unknown in a new incarnation: the first call sets it again. */
  #at = Number.POSITIVE_INFINITY;

  /** `set` arms the platform's alarm; `report` is told what a duty threw. */
  constructor(duties: readonly AlarmTask[], set: (at: number) => void, report: (error: unknown) => void) {
    this.#duties = duties;
    this.#set = set;
    this.#report = report;
  }

  /** Be woken at `at`, or earlier. */
  noLaterThan(at: number): void {
    if (at >= this.#at) return;
    this.#at = at;
    this.#set(at);
  }

  /** The alarm went off. Never throws: the platform would count it as a failed alarm and in the end stop calling. */
  ring(now: number): void {
    this.#at = Number.POSITIVE_INFINITY;
    this.noLaterThan(Math.min(...this.#duties.map((duty) => this.#run(duty, now) ?? Number.POSITIVE_INFINITY)));
  }

  #run(duty: AlarmTask, now: number): number | null {
    try {
      return duty(now);
    } catch (error) {
      this.#report(error);
      return now + AFTER_FAILURE_MS;
    }
  }
}
