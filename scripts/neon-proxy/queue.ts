import { setImmediate } from "node:timers/promises";
import { nobodyWaits, shuttingDown } from "./errors.ts";

interface Waiting {
  readonly start: () => Promise<void>;
  readonly refuse: (reason: Error) => void;
}

/** Runs one task at a time, first come first served. A task whose caller has gone before its turn never starts. */
export class FairQueue {
  #waiting: Waiting[] = [];
  #draining: Promise<void> | null = null;
  #closed = false;

  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed) return Promise.reject(shuttingDown());
    if (signal?.aborted) return Promise.reject(nobodyWaits());
    return new Promise<T>((resolve, reject) => {
      const entry: Waiting = {
        start: () => {
          signal?.removeEventListener("abort", leave);
          return task().then(resolve, reject);
        },
        refuse: reject,
      };
      const leave = () => {
        this.#waiting = this.#waiting.filter((other) => other !== entry);
        reject(nobodyWaits());
      };
      signal?.addEventListener("abort", leave, { once: true });
      this.#waiting.push(entry);
      this.#draining ??= this.#drain();
    });
  }

  /** Refuses what waits and resolves when the running task has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#waiting.splice(0)) entry.refuse(shuttingDown());
    await this.#draining;
  }

  async #drain(): Promise<void> {
    for (;;) {
      // PGlite computes on this very thread: without a breath between tasks no disconnect would ever be noticed.
      await setImmediate();
      const next = this.#waiting.shift();
      if (next === undefined) break;
      await next.start();
    }
    this.#draining = null;
  }
}
