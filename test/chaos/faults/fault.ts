import { setTimeout } from "node:timers/promises";
import type { Scene } from "../people/scene.ts";

/** Something that goes wrong, by name. */
export type Fault = {
  name: string;
  /** What it happens to: two faults of one kind are never on at once. */
  kind: "database" | "orchestrator" | "graph" | "service" | "queue" | "people";
  /** Is on for at least `ms`, and until it was felt. How often it fired: 0 when it never did. */
  run(scene: Scene, ms: number): Promise<number>;
};

/** A fault that is on, until it is stopped. */
export type Standing = { felt: () => number; stop: () => void | Promise<void> };

/** One that isn't felt by then will not be. */
export const FELT_WITHIN_MS = 30_000;

/** A fault that is switched on and off. */
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

/** Whether it happened in time. */
export async function within(ms: number, work: Promise<unknown>): Promise<boolean> {
  const timer = new AbortController();
  const late = setTimeout(ms, false, { signal: timer.signal }).catch(() => false);
  const isInTime = await Promise.race([work.then(() => true), late]);
  timer.abort();
  return isInTime;
}
