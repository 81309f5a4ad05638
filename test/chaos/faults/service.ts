import { once } from "node:events";
import { setTimeout } from "node:timers/promises";
import { hang } from "../../support/graph-api.ts";
import { POINTS } from "../control.ts";
import type { Point } from "../control.ts";
import { pick } from "../random.ts";
import { FELT_WITHIN_MS, standing, within } from "./fault.ts";
import type { Fault } from "./fault.ts";

/** The response at the point is held while the service is killed, so the turn goes no further. */
const killedAt = (point: Point): Fault => ({
  kind: "service",
  name: point === "after-batch" ? "kill -9 consumer-dies-after-write" : `kill -9 ${point}`,
  run: async ({ world }) => {
    const killed = world.control.next(point, async () => {
      await world.crash();
      return { act: "go" };
    });
    return (await within(FELT_WITHIN_MS, killed)) ? 1 : 0;
  },
});

/** WhatsApp has accepted a reply and the service dies before the response: it must not send the reply again. */
const killedDuringDelivery: Fault = {
  kind: "service",
  name: "kill -9 during-delivery",
  run: async ({ world }) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    world.graph.next((call, response) => {
      resolve(world.crash());
      return hang(call, response);
    });
    return (await within(FELT_WITHIN_MS, promise)) ? 1 : 0;
  },
};

/** Only the conversation's object is aborted; its next incarnation keeps its guarantees. */
const abortedAt = (point: Point): Fault => ({
  kind: "service",
  name: `object aborted ${point}`,
  run: async ({ world }) => {
    const aborted = world.control.next(point, (address) => {
      world.interruptions.push({ at: Date.now(), address });
      return { act: "abort" };
    });
    return (await within(FELT_WITHIN_MS, aborted)) ? 1 : 0;
  },
});

/** An object with an open request stays loaded until it is answered, so several are evicted at once. */
const EVICTED_AT_ONCE = 5;

const evicted = standing("service", "objects evicted", ({ world, random }) => {
  let felt = 0;
  const over = new AbortController();
  const isOver = once(over.signal, "abort");
  const evicting = Array.from({ length: EVICTED_AT_ONCE }, async () => {
    while (!over.signal.aborted) {
      const evicted = world.evict(pick(random, [...world.control.addresses]));
      // An eviction of a busy object takes half a minute to fail, and is not awaited.
      if ((await Promise.race([evicted, isOver])) === true) felt += 1;
      await setTimeout(50);
    }
  });
  return {
    felt: () => felt,
    stop: async () => {
      over.abort();
      await Promise.all(evicting);
    },
  };
});

const messages = (
  name: string,
  point: Point,
  verdict: (random: () => number) => { act: "drop" | "double" } | { act: "delay"; ms: number },
): Fault =>
  standing("queue", name, ({ world: { control }, random }) => {
    let felt = 0;
    const stop = control.always(point, () => {
      felt += 1;
      return verdict(random);
    });
    return { felt: () => felt, stop };
  });

export const serviceFaults: readonly Fault[] = [
  ...POINTS.map(killedAt),
  killedDuringDelivery,
  ...(["after-admit", "after-settle", "after-notify"] as const).map(abortedAt),
  evicted,
];

export const queueFaults: readonly Fault[] = [
  messages("queue-message-lost", "after-answer-before-queue", () => ({ act: "drop" })),
  messages("queue-message-twice", "after-answer-before-queue", () => ({ act: "double" })),
  messages("queue messages reordered", "after-answer-before-queue", (random) => ({
    act: "delay",
    ms: Math.floor(random() * 2_000),
  })),
  messages("notifications doubled", "after-settle", () => ({ act: "double" })),
  messages("notifications reordered", "after-settle", (random) => ({ act: "delay", ms: Math.floor(random() * 2_000) })),
  messages("notifications dropped", "after-settle", () => ({ act: "drop" })),
];
