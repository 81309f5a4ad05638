import { isSafeToRetry } from "./errors.ts";

export type RetryOptions = {
  attempts: number;
  /** Upper bound of the first pause; doubled each time, then drawn evenly below it (full jitter). */
  baseMs: number;
  /** No new attempt starts after this. */
  deadlineMs: number;
  now: () => number;
  sleep: (ms: number) => Promise<void>;
  random: () => number;
};

export const DEFAULT_RETRY: RetryOptions = {
  attempts: 3,
  baseMs: 50,
  deadlineMs: 10_000,
  now: Date.now,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  random: Math.random,
};

/**
 * Runs a whole transaction again when it is known to have done nothing (deadlock, serialisation, connection refused).
 * Throws the last error as it came.
 */
export async function withRetry<T>(work: () => Promise<T>, options: Partial<RetryOptions> = {}): Promise<T> {
  const { attempts, baseMs, deadlineMs, now, sleep, random } = { ...DEFAULT_RETRY, ...options };
  const deadline = now() + deadlineMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const pause = baseMs * 2 ** (attempt - 1) * random();
      if (attempt >= attempts || !isSafeToRetry(error) || now() + pause >= deadline) throw error;
      await sleep(pause);
    }
  }
}
