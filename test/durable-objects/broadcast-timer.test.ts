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
  it("a broadcast's timer enqueues its id repeatedly until nothing is left to send", async () => {
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

  it("a broadcast's timer enqueues its id when a retry is due", async () => {
    const timer = new Timer();
    await timer.start();
    await timer.rest(await timer.current(), 2_000);
    const dueIn = await timer.dueIn();
    expect(dueIn).toBeGreaterThan(0);
    expect(dueIn).toBeLessThanOrEqual(2_000);
  });

  it("a broadcast's timer continues after the queue was unavailable", async () => {
    const timer = new Timer();
    await timer.start();
    rings.mockRejectedValue(new Error("the queue is away"));
    expect(await timer.ring()).toBe(true);
    rings.mockReset();
    expect(await timer.ring()).toBe(true);
    expect(rungFor(timer)).toBe(1);
  });

  it("a broadcast's timer continues after its object was restarted", async () => {
    const timer = new Timer();
    await timer.start();
    await abortAllDurableObjects();
    expect(await timer.ring()).toBe(true);
    expect(rungFor(timer)).toBe(1);
  });

  it("a consumer that has not seen a restart of the timer can't stop it", async () => {
    const timer = new Timer();
    await timer.start();
    const seen = await timer.current();
    await timer.start();
    await timer.rest(seen, null);
    expect(await timer.ring()).toBe(true);
  });

  it("a consumer of an earlier start can't stop the timer", async () => {
    const timer = new Timer();
    await timer.start();
    const seen = await timer.current();
    await timer.rest(seen, null);
    await timer.start();
    await timer.rest(seen, null);
    expect(await timer.ring()).toBe(true);
  });
});
