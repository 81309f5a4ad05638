import { setTimeout } from "node:timers/promises";
import type { Journal } from "../journal.ts";
import type { Random } from "../random.ts";
import type { World } from "../world.ts";

/** State shared by clients and faults. */
export type Scene = {
  world: World;
  journal: Journal;
  random: Random;
  /** True when clients send no new messages; open ones are finished. */
  isOver: () => boolean;
  /** While true, some messages are poisoned. */
  isPoisoned: boolean;
};

/** A client that repeats an action until the run ends. */
export async function goOn(scene: Scene, pauseMs: number, act: () => Promise<unknown>): Promise<void> {
  while (!scene.isOver()) {
    await act();
    await setTimeout(pauseMs * (0.5 + scene.random()));
  }
}
