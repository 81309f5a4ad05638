import { setTimeout } from "node:timers/promises";
import type { Journal } from "../journal.ts";
import type { Random } from "../random.ts";
import type { World } from "../world.ts";

/** Where people meet the service. */
export type Scene = {
  world: World;
  journal: Journal;
  random: Random;
  /** True when nobody begins anything any more; what is begun is brought to its end. */
  isOver: () => boolean;
  /** While it is true some of what is said is poison. */
  isPoisoned: boolean;
};

/** Somebody who does one thing after the other until it is over. */
export async function goOn(scene: Scene, pauseMs: number, act: () => Promise<unknown>): Promise<void> {
  while (!scene.isOver()) {
    await act();
    await setTimeout(pauseMs * (0.5 + scene.random()));
  }
}
