export type Backoff = {
  /** Before jitter, after the first failure; doubled with each further one. */
  baseMs: number;
  /** Before jitter. */
  maxMs: number;
  /** Bounds of the random factor, so that callers that failed together retry at different times. */
  jitter?: readonly [lowest: number, highest: number];
};

/** Exponential backoff in milliseconds. `attempt` counts earlier failures from 0, `random` is in [0, 1). */
export const backoff = (attempt: number, { baseMs, maxMs, jitter = [1, 1] }: Backoff, random: number): number =>
  jittered(Math.min(baseMs * 2 ** attempt, maxMs), jitter, random);

/** A pause times a factor between the two bounds; `random` is in [0, 1). */
export const jittered = (ms: number, [lowest, highest]: readonly [number, number], random: number): number =>
  ms * (lowest + (highest - lowest) * random);
