import { setTimeout } from "node:timers/promises";
import { crowd } from "../people/chatters.ts";
import { FELT_WITHIN_MS } from "./fault.ts";
import type { Fault } from "./fault.ts";

export const peopleFaults: readonly Fault[] = [
  {
    kind: "people",
    name: "100 callers with one id",
    run: (scene) => crowd(scene, `crowd-${scene.journal.turns.length}`, 100),
  },
  {
    kind: "people",
    name: "poison entries",
    run: async (scene, ms) => {
      const poisoned = () => scene.journal.turns.filter(({ poison, answers }) => poison && answers.length > 0).length;
      const before = poisoned();
      const startedAt = Date.now();
      scene.isPoisoned = true;
      while ((Date.now() - startedAt < ms || poisoned() === before) && Date.now() - startedAt < FELT_WITHIN_MS)
        await setTimeout(20);
      scene.isPoisoned = false;
      return poisoned() - before;
    },
  },
];
