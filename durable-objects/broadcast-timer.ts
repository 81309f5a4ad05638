import { DurableObject } from "cloudflare:workers";
import { jittered } from "../src/domain/backoff.ts";
import type { ObjectDeps } from "../src/deps.ts";
import type { BroadcastTimer as BroadcastTimerPort } from "../src/rpc/broadcast-timer.ts";
import { createObjectDeps, startupLog } from "../src/compose.ts";
import { EVENT } from "../src/telemetry/events.ts";

/** First alarm after a start. Later than the insert of the broadcast and its first queue message take. */
const FIRST_NOTIFY_MS = 15_000;
/** Repeated until `rest`. Jittered, so that the broadcasts of an outage are not all enqueued at its end. */
const REPEAT_MS = 30_000;
/** About the time from the enqueue to the consumer: more often is of no use. */
const MIN_MS = 500;

const START = "start";

/**
 * The timer of one broadcast, named by the broadcast's id. Enqueues the broadcast until the consumer reports that it is
 * finished, so that no recipient is lost with a queue message or a consumer.
 */
export class BroadcastTimer extends DurableObject<Env> implements BroadcastTimerPort {
  /** Not in the constructor, which must not throw on an unreadable configuration. */
  #dependencies: ObjectDeps | null = null;

  get #deps(): ObjectDeps {
    return (this.#dependencies ??= createObjectDeps(this.env));
  }

  async start(): Promise<void> {
    this.ctx.storage.kv.put(START, crypto.randomUUID());
    await this.#setAlarmIn(FIRST_NOTIFY_MS);
  }

  async current(): Promise<string | null> {
    return this.ctx.storage.kv.get<string>(START) ?? null;
  }

  async rest(start: string | null, dueInMs: number | null): Promise<void> {
    // A start after `current` was read announces recipients that the consumer has not seen.
    if (start !== (await this.current())) return;
    if (dueInMs === null) await this.ctx.storage.deleteAll();
    else await this.#setAlarmIn(Math.max(dueInMs, MIN_MS));
  }

  /** Never throws: the platform stops an alarm that keeps failing. */
  override async alarm(): Promise<void> {
    await this.#setAlarmIn(jittered(REPEAT_MS, [0.75, 1.25], Math.random()));
    const { name: broadcastId } = this.ctx.id;
    if (broadcastId === undefined) throw new Error("A broadcast timer must be addressed by name");
    try {
      await this.#deps.enqueueBroadcast(broadcastId);
    } catch (error) {
      startupLog("broadcast-timer").warn(EVENT.broadcastEnqueueFailed, { error, broadcast_id: broadcastId });
    }
  }

  async #setAlarmIn(ms: number): Promise<void> {
    await this.ctx.storage.setAlarm(Date.now() + ms);
  }
}
