import { setTimeout } from "node:timers/promises";
import type { Scene } from "../people/scene.ts";

/** A named fault. */
export type Fault = {
  name: string;
  /** The faulty part: faults of one kind never overlap. */
  kind: "database" | "orchestrator" | "graph" | "service" | "queue" | "people";
  /** Is active for at least `ms` and until it has fired. Returns how often it fired. */
  run(scene: Scene, ms: number): Promise<number>;
};

/** An active fault. */
export type Standing = { felt: () => number; stop: () => void | Promise<void> };

/** Limit of waiting for a fault to fire. */
export const FELT_WITHIN_MS = 30_000;

/** A fault that is turned on and off. */
export const standing = (
  kind: Fault["kind"],
  name: string,
  start: (scene: Scene) => Standing | Promise<Standing>,
): Fault => ({
  kind,
  name,
  run: async (scene, ms) => {
    const { felt, stop } = await start(scene);
    const startedAt = Date.now();
    const isDone = () => Date.now() - startedAt >= ms && felt() > 0;
    while (!isDone() && Date.now() - startedAt < FELT_WITHIN_MS) await setTimeout(20);
    await stop();
    return felt();
  },
});

/** Whether the work finished in time. */
export async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController();
  const late = setTimeout(ms, false, { signal: timer.signal }).catch(() => false);
  const isInTime = await Promise.race([work.then(() => true), late]);
  timer.abort();
  return isInTime;
}
