import { withTimeout } from "../domain/deadline.ts";

/** After a failed load the stale value is served this long before the next attempt. */
const RETRY_MS = 5_000;
/** The fraction of the entries that may be of things that do not exist. */
const ABSENT_PART = 10;

/**
 * Caches values by key for a time. `null` is cached too, as the fact that a thing does not exist. Absent things have room
 * of their own: made-up keys evict each other, never a known value.
 */
export class Cache<T> {
  readonly #known = new Map<string, Entry<T>>();
  readonly #absent = new Map<string, Entry<T>>();
  readonly #inFlight = new Map<string, Promise<T>>();
  readonly #options: Options<T>;
  #hits = 0;
  #misses = 0;

  constructor(options: Options<T>) {
    this.#options = options;
  }

  /** Returns the value; concurrent callers share one load. */
  async get(key: string, load: () => Promise<T>, { refresh = false } = {}): Promise<T> {
    const entry = this.#entry(key);
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

  /** Returns the cached value if it has not expired. Never loads. */
  peek(key: string): T | undefined {
    const entry = this.#entry(key);
    return entry !== undefined && entry.expiresAt > this.#options.now() ? entry.value : undefined;
  }

  /** Stores a value. The result of a load in flight is older and is not stored. */
  set(key: string, value: T): void {
    this.invalidate(key);
    const { now, ttlMs, staleIfError, maxEntries, isAbsent = (value) => value === null } = this.#options;
    const expiresAt = now() + ttlMs;
    const [entries, most] = isAbsent(value)
      ? [this.#absent, Math.ceil(maxEntries / ABSENT_PART)]
      : [this.#known, maxEntries];
    entries.set(key, { value, expiresAt, keptUntil: expiresAt + (staleIfError?.ms ?? 0) });
    const [oldest] = entries.keys();
    if (entries.size > most && oldest !== undefined) entries.delete(oldest);
  }

  #entry(key: string): Entry<T> | undefined {
    return this.#known.get(key) ?? this.#absent.get(key);
  }

  /** Removes one key or all, and ignores loads in flight, which may have read the old value. */
  invalidate(key?: string): void {
    if (key === undefined) {
      this.#known.clear();
      this.#absent.clear();
      this.#inFlight.clear();
    } else {
      this.#known.delete(key);
      this.#absent.delete(key);
      this.#inFlight.delete(key);
    }
  }

  get counters(): { hits: number; misses: number; size: number } {
    return { hits: this.#hits, misses: this.#misses, size: this.#known.size + this.#absent.size };
  }

  /** Returns the stale value when the load's error permits it (stale-if-error), else throws the error. */
  #lastKnown(key: string, error: unknown): T {
    const { staleIfError, now } = this.#options;
    const entry = this.#entry(key);
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
   * Waits for a load started by another request. When that request is cancelled its promise never settles, so a caller
   * that has waited too long starts a new load, which the others join.
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
 * Like `Promise.all`, but settles after all of them: a failed request would cancel its other loads, which requests of
 * other users may have joined.
 */
export async function awaitAll<Work extends readonly unknown[] | []>(
  work: Work,
): Promise<{ -readonly [Index in keyof Work]: Awaited<Work[Index]> }> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

type Entry<T> = { value: T; expiresAt: number; keptUntil: number };

type Options<T> = {
  ttlMs: number;
  maxEntries: number;
  /** How long to wait for another request's load. */
  joinTimeoutMs: number;
  /** How long an expired value is served while loads fail with such an error. */
  staleIfError?: { ms: number; when: (error: unknown) => boolean };
  /** Whether a value says that a thing does not exist; by default `null` does. */
  isAbsent?: (value: T) => boolean;
  now: () => number;
};
