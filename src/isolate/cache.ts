import { withTimeout } from "../domain/deadline.ts";

/** After a load that failed, what was known before is told for so long before it is tried again. */
const RETRY_MS = 5_000;

/** Values by key for a while. `null` is a value too: that something does not exist is worth remembering. */
export class Cache<T> {
  readonly #entries = new Map<string, { value: T; expiresAt: number; keptUntil: number }>();
  readonly #inFlight = new Map<string, Promise<T>>();
  readonly #options: Options;
  #hits = 0;
  #misses = 0;

  constructor(options: Options) {
    this.#options = options;
  }

  /** The value, loaded once however many ask for it at the same time. */
  async get(key: string, load: () => Promise<T>, { refresh = false } = {}): Promise<T> {
    const entry = this.#entries.get(key);
    if (entry && entry.expiresAt > this.#options.now() && !refresh) {
      this.#hits += 1;
      return entry.value;
    }
    this.#misses += 1;
    const flight = refresh ? undefined : this.#inFlight.get(key);
    try {
      return await (flight ? this.#join(flight, key, load) : this.#load(key, load));
    } catch (error) {
      return this.#lastKnown(key, error);
    }
  }

  /** The value if it is known and has not expired. Nothing is loaded. */
  peek(key: string): T | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.expiresAt > this.#options.now() ? entry.value : undefined;
  }

  /** Puts what somebody else found out. What is on its way is older news by then, and is not kept. */
  set(key: string, value: T): void {
    this.#inFlight.delete(key);
    this.#entries.delete(key);
    const { now, ttlMs, staleIfError } = this.#options;
    const expiresAt = now() + ttlMs;
    this.#entries.set(key, { value, expiresAt, keptUntil: expiresAt + (staleIfError?.ms ?? 0) });
    if (this.#entries.size <= this.#options.maxEntries) return;
    const [oldest] = this.#entries.keys();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }

  /** Forgets one key, or all of them; also what is on its way, which may have been read before the change. */
  invalidate(key?: string): void {
    if (key === undefined) {
      this.#entries.clear();
      this.#inFlight.clear();
    } else {
      this.#entries.delete(key);
      this.#inFlight.delete(key);
    }
  }

  get counters(): { hits: number; misses: number; size: number } {
    return { hits: this.#hits, misses: this.#misses, size: this.#entries.size };
  }

  /** What was known before, when it can't be asked for now. */
  #lastKnown(key: string, error: unknown): T {
    const { staleIfError, now } = this.#options;
    const entry = this.#entries.get(key);
    if (!staleIfError?.when(error) || entry === undefined || entry.keptUntil <= now()) throw error;
    entry.expiresAt = now() + RETRY_MS;
    return entry.value;
  }

  async #load(key: string, load: () => Promise<T>): Promise<T> {
    const flight = load();
    this.#inFlight.set(key, flight);
    const isLatest = () => this.#inFlight.get(key) === flight;
    try {
      const value = await flight;
      if (isLatest()) this.set(key, value);
      return value;
    } finally {
      if (isLatest()) this.#inFlight.delete(key);
    }
  }

  /**
   * Waits for a load that another request began. That request may be cancelled by its client, and then its promise never
   * settles: who has waited too long loads anew, and the others wait for that.
   */
  async #join(flight: Promise<T>, key: string, load: () => Promise<T>): Promise<T> {
    const loaded = flight.then((value) => ({ value }));
    const outcome = await withTimeout(loaded, this.#options.joinTimeoutMs, () => null);
    if (outcome !== null) return outcome.value;
    const next = this.#inFlight.get(key);
    return next === undefined || next === flight ? this.#load(key, load) : this.#join(next, key, load);
  }
}

/**
 * `Promise.all` that waits for the rest also when one of them fails: what a request has begun to load ends with it, and
 * others may be waiting for that.
 */
export async function awaitAll<Work extends readonly unknown[] | []>(
  work: Work,
): Promise<{ -readonly [Index in keyof Work]: Awaited<Work[Index]> }> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

type Options = {
  ttlMs: number;
  maxEntries: number;
  /** How long to wait for another request's load. */
  joinTimeoutMs: number;
  /** For how long after its time a value is told still, when a load fails like this. */
  staleIfError?: { ms: number; when: (error: unknown) => boolean };
  now: () => number;
};
