import { backoff } from "../domain/backoff.ts";
import { databaseErrorCode, isSafeToRetry } from "./errors.ts";

export type RetryOptions = {
  /** The work is idempotent: it is also sent again when a lost connection leaves open whether it ran. */
  isRepeatable: boolean;
  attempts: number;
  /** Upper bound of the first pause, doubled each time (full jitter). */
  baseMs: number;
  /** No new attempt starts after this. */
  deadlineMs: number;
  now: () => number;
  sleep: (ms: number) => Promise<void>;
  random: () => number;
};

export const DEFAULT_RETRY: RetryOptions = {
  isRepeatable: false,
  attempts: 3,
  baseMs: 50,
  deadlineMs: 10_000,
  now: Date.now,
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  random: Math.random,
};

/**
 * Runs a transaction again when it is known to have changed nothing (deadlock, serialization failure, connection refused).
 * Never after a timeout: the caller has waited long enough. Throws the last error unchanged.
 */
export async function withRetry<T>(work: () => Promise<T>, options: Partial<RetryOptions> = {}): Promise<T> {
  const { isRepeatable, attempts, baseMs, deadlineMs, now, sleep, random } = { ...DEFAULT_RETRY, ...options };
  const mayRunAgain = (error: unknown): boolean =>
    isSafeToRetry(error) || (isRepeatable && databaseErrorCode(error) === "DATABASE_CONNECTION_ERROR");
  const deadline = now() + deadlineMs;
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const pause = backoff(attempt - 1, { baseMs, maxMs: deadlineMs, jitter: [0, 1] }, random());
      if (attempt >= attempts || !mayRunAgain(error) || now() + pause >= deadline) throw error;
      await sleep(pause);
    }
  }
}
