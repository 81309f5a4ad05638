/**
 * Deadlines with timers that are cleared. `AbortSignal.timeout` is not used: its timer keeps a Durable Object awake, and
 * billed, until it fires.
 */

/** The result of `work`, or of `onTimeout` when it takes longer. `onTimeout` may throw; the work itself goes on. */
export async function withTimeout<T, Late>(
  work: Promise<T>,
  timeoutMs: number,
  onTimeout: () => Late,
): Promise<T | Late> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<typeof TIMEOUT>((resolve) => {
    timer = setTimeout(() => resolve(TIMEOUT), timeoutMs);
  });
  try {
    const first = await Promise.race([work, timeout]);
    return first === TIMEOUT ? onTimeout() : first;
  } finally {
    clearTimeout(timer);
  }
}

const TIMEOUT = Symbol("timeout");

/** Named as `AbortSignal.timeout` names its reason. */
class DeadlineError extends Error {
  override readonly name = "TimeoutError";

  constructor(timeoutMs: number) {
    super(`No answer within ${timeoutMs} ms`);
  }
}

/** A signal that aborts after a time. `clear` stops its timer and must be called when the work ends. */
export type Deadline = { signal: AbortSignal; clear: () => void };

/**
 * Starts a deadline that also aborts when `parent` does. One controller held by its timer, not `AbortSignal.any`: Node may
 * collect a combined signal while it is still waited for.
 */
export function startDeadline(timeoutMs: number, parent?: AbortSignal): Deadline {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(new DeadlineError(timeoutMs)), timeoutMs);
  const abort = () => controller.abort(parent?.reason);
  parent?.addEventListener("abort", abort);
  if (parent?.aborted) abort();
  return {
    signal: controller.signal,
    clear: () => {
      clearTimeout(timer);
      parent?.removeEventListener("abort", abort);
    },
  };
}

/** Runs work that takes a signal under a deadline. */
export async function withDeadline<T>(
  timeoutMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  parent?: AbortSignal,
): Promise<T> {
  const deadline = startDeadline(timeoutMs, parent);
  try {
    return await work(deadline.signal);
  } finally {
    deadline.clear();
  }
}
