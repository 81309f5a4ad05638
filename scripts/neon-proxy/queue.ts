import { setImmediate } from "node:timers/promises";
import { clientDisconnected, shuttingDown } from "./errors.ts";

type QueuedTask = {
  start: () => Promise<void>;
  refuse: (reason: Error) => void;
};

/** Runs one task at a time, first in, first out. A queued task never starts after its caller has disconnected. */
export class TaskQueue {
  #waiting: QueuedTask[] = [];
  #draining: Promise<void> | null = null;
  #closed = false;

  run<T>(task: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed) return Promise.reject(shuttingDown());
    if (signal?.aborted) return Promise.reject(clientDisconnected());
    return new Promise<T>((resolve, reject) => {
      const entry: QueuedTask = {
        start: () => {
          signal?.removeEventListener("abort", cancel);
          return task().then(resolve, reject);
        },
        refuse: reject,
      };
      const cancel = () => {
        this.#waiting = this.#waiting.filter((other) => other !== entry);
        reject(clientDisconnected());
      };
      signal?.addEventListener("abort", cancel, { once: true });
      this.#waiting.push(entry);
      this.#draining ??= this.#drain();
    });
  }

  /** Refuses queued tasks and resolves when the running one has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const entry of this.#waiting.splice(0)) entry.refuse(shuttingDown());
    await this.#draining;
  }

  async #drain(): Promise<void> {
    for (;;) {
      // PGlite runs on this thread: yield between tasks so that disconnects are noticed.
      await setImmediate();
      const next = this.#waiting.shift();
      if (next === undefined) break;
      await next.start();
    }
    this.#draining = null;
  }
}
