import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env } from "cloudflare:workers";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { BroadcastTimer as BroadcastTimerPort } from "../../src/rpc/broadcast-timer.ts";

/** A broadcast's timer. A stub is broken for good once its object has died, so each call takes a new one. */
class Timer {
  readonly id = crypto.randomUUID();
  get #stub() {
    return env.BROADCAST_TIMERS.getByName(this.id);
  }
  get #port(): BroadcastTimerPort {
    return this.#stub;
  }
  start = () => this.#port.start();
  current = () => this.#port.current();
  rest = (start: string | null, dueInMs: number | null) => this.#port.rest(start, dueInMs);
  /** The alarm goes off. False when none is set. */
  ring = () => runDurableObjectAlarm(this.#stub);
  /** Milliseconds until it goes off by itself. */
  dueIn = () =>
    runInDurableObject(this.#stub, async (_object, { storage }) => {
      const at = await storage.getAlarm();
      return at === null ? null : at - Date.now();
    });
}

const rings = vi.spyOn(env.BROADCAST, "send");
const rungFor = ({ id }: Timer) => rings.mock.calls.filter(([body]) => body === id).length;

beforeEach(() => {
  rings.mockReset();
  rings.mockResolvedValue({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } } });
});

describe("a broadcast's timer", () => {
  it("rings with the broadcast's id, again and again until it is told that nothing is left", async () => {
    const timer = new Timer();
    await timer.start();
    for (let ring = 1; ring <= 3; ring += 1) {
      expect(await timer.ring()).toBe(true);
      expect(rungFor(timer)).toBe(ring);
    }
    await timer.rest(await timer.current(), null);
    expect(await timer.ring()).toBe(false);
    expect(await timer.current()).toBeNull();
  });

  it("rings when somebody is due again", async () => {
    const timer = new Timer();
    await timer.start();
    await timer.rest(await timer.current(), 2_000);
    const dueIn = await timer.dueIn();
    expect(dueIn).toBeGreaterThan(0);
    expect(dueIn).toBeLessThanOrEqual(2_000);
  });

  it("goes on when the queue is away", async () => {
    const timer = new Timer();
    await timer.start();
    rings.mockRejectedValue(new Error("the queue is away"));
    expect(await timer.ring()).toBe(true);
    rings.mockReset();
    expect(await timer.ring()).toBe(true);
    expect(rungFor(timer)).toBe(1);
  });

  it("goes on after the object has died", async () => {
    const timer = new Timer();
    await timer.start();
    await abortAllDurableObjects();
    expect(await timer.ring()).toBe(true);
    expect(rungFor(timer)).toBe(1);
  });

  it("is not stopped by a consumer who has not seen what it was started again for", async () => {
    const timer = new Timer();
    await timer.start();
    const seen = await timer.current();
    await timer.start();
    await timer.rest(seen, null);
    expect(await timer.ring()).toBe(true);
  });

  it("is not stopped by one who was there before everything was done and began anew", async () => {
    const timer = new Timer();
    await timer.start();
    const seen = await timer.current();
    await timer.rest(seen, null);
    await timer.start();
    await timer.rest(seen, null);
    expect(await timer.ring()).toBe(true);
  });
});
