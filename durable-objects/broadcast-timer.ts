import { DurableObject } from "cloudflare:workers";
import type { ObjectDeps } from "../src/deps.ts";
import type { BroadcastTimer as BroadcastTimerPort } from "../src/rpc/broadcast-timer.ts";
import { createObjectDeps } from "../src/compose.ts";
import { EVENT } from "../src/telemetry/events.ts";

/** After a start: late enough that what is being written is there, and that the queue has rung by itself if it works. */
const FIRST_NOTIFY_MS = 15_000;
/** As long as nobody says otherwise. Jittered, so that the broadcasts of an outage don't all ring at its end at once. */
const REPEAT_MS = 30_000;
/** A ring takes about this long to be answered: more often is of no use. */
const MIN_MS = 500;

const START = "start";

/**
 * One broadcast's timer. It knows nothing of the broadcast: it rings the queue with its own name until the consumer says
 * that nothing is left to do, so neither a queue that forgets nor a consumer that dies leaves anybody out.
 */
export class BroadcastTimer extends DurableObject<Env> implements BroadcastTimerPort {
  readonly #deps: ObjectDeps;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#deps = createObjectDeps(env);
  }

  async start(): Promise<void> {
    this.ctx.storage.kv.put(START, crypto.randomUUID());
    await this.#setAlarmIn(FIRST_NOTIFY_MS);
  }

  async current(): Promise<string | null> {
    return this.ctx.storage.kv.get<string>(START) ?? null;
  }

  async rest(start: string | null, dueInMs: number | null): Promise<void> {
    // Started again while the consumer was at work: it has not seen what that start was for.
    if (start !== (await this.current())) return;
    if (dueInMs === null) await this.ctx.storage.deleteAll();
    else await this.#setAlarmIn(Math.max(dueInMs, MIN_MS));
  }

  /** Never throws: the platform would count it as a failed alarm and in the end stop calling. */
  override async alarm(): Promise<void> {
    await this.#setAlarmIn(REPEAT_MS * (0.75 + Math.random() / 2));
    const { name: broadcastId } = this.ctx.id;
    if (broadcastId === undefined) throw new Error("A timer is addressed by name");
    try {
      await this.#deps.enqueueBroadcast(broadcastId);
    } catch (error) {
      this.#deps.log.warn(EVENT.broadcastEnqueueFailed, { error, broadcast_id: broadcastId });
    }
  }

  async #setAlarmIn(ms: number): Promise<void> {
    await this.ctx.storage.setAlarm(this.#deps.now() + ms);
  }
}
