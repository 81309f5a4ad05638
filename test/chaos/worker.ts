import type { WrittenEntries } from "../../src/domain/ledger.ts";
import worker, { Conversation as Product, BroadcastTimer as ProductTimer } from "../../src/index.ts";

export { RateLimiter } from "../../src/index.ts";

/** A named point of a turn inside the Worker. */
type Point =
  | "after-admit"
  | "after-answer-before-queue"
  | "after-queue"
  | "after-settle"
  | "after-notify"
  | "before-confirm";

/** The log line that the run reads: the service has noticed an unavailable database. */
const HEARD = '"event":"ledger_write_failed"';
const print = console.log;
// No other lines: the process that starts the runtime reads no log while it waits for an eviction, and a runtime whose
// log is not read blocks.
console.log = (line: string) => {
  if (line.includes(HEARD)) print(line);
};

/** The test process's decision at a point. While it kills the service it does not answer. */
export type Verdict = { act: "go" | "drop" | "double" | "abort" } | { act: "delay"; ms: number };

/** Addresses of the test process and of the orchestrator's stand-in. */
type Surroundings = Env & { CHAOS_CONTROL: string; CHAOS_ORCHESTRATOR: string };

/**
 * The unchanged Worker with wrapped bindings, which can fail at the points where a turn leaves an object or returns to it.
 * The product has no code for this.
 *
 * Every point is an outgoing request, which the platform's output gate holds until the object's writes are on disk: a
 * Worker killed during that request has written exactly the state that the point's
 * name says.
 */
function surround(env: Surroundings, object: DurableObjectState | null): Env {
  const at = async (point: Point, subject: string): Promise<Verdict> => {
    const response = await fetch(`${env.CHAOS_CONTROL}/${point}`, { method: "POST", body: subject });
    const verdict: Verdict = await response.json();
    if (verdict.act === "delay") await new Promise((resolve) => setTimeout(resolve, verdict.ms));
    if (verdict.act === "abort") object?.abort("chaos");
    return verdict;
  };
  /** A queue whose messages can be lost, repeated and delayed. */
  const faulty = (queue: Queue, points: { before: Point; after: Point | null }) => ({
    send: async (message: string, options?: QueueSendOptions) => {
      const subject = points.after === null ? message : (object?.id.name ?? "");
      const { act } = await at(points.before, subject);
      if (act === "drop") return;
      await queue.send(message, options);
      if (act === "double") await queue.send(message, options);
      if (points.after !== null) await at(points.after, subject);
    },
  });
  const conversations = {
    getByName: (name: string) => {
      const stub = env.CONVERSATIONS.getByName(name);
      const confirm = async (written: WrittenEntries) => {
        await at("before-confirm", name);
        return stub.confirm(written);
      };
      // The queue's consumer runs outside any object.
      return object === null
        ? new Proxy(stub, { get: (target, name) => (name === "confirm" ? confirm : Reflect.get(target, name)) })
        : stub;
    },
  };
  return {
    ...env,
    // Entries travel with their answer through the Worker; an object announces what no caller carries.
    LEDGER: faulty(
      env.LEDGER,
      object === null
        ? { before: "after-answer-before-queue", after: "after-queue" }
        : { before: "after-settle", after: "after-notify" },
    ),
    BROADCAST: faulty(env.BROADCAST, { before: "after-settle", after: null }),
    CONVERSATIONS: conversations,
    // A service binding, as a deploy may have: requests to the orchestrator pass through here.
    ORCHESTRATOR: {
      fetch: async (_address: string, init: RequestInit) => {
        await at("after-admit", object?.id.name ?? "");
        return fetch(env.CHAOS_ORCHESTRATOR, init);
      },
    },
  } as unknown as Env;
}

/** The product's Conversation, which can be aborted at a point of its turn. */
export class Conversation extends Product {
  constructor(ctx: DurableObjectState, env: Surroundings) {
    super(ctx, surround(env, ctx));
  }
}

/** The product's BroadcastTimer, whose queue messages can be lost. */
export class BroadcastTimer extends ProductTimer {
  constructor(ctx: DurableObjectState, env: Surroundings) {
    super(ctx, surround(env, ctx));
  }
}

/** Counts pending entries in the outboxes of these conversations. */
async function waiting(env: Env, request: Request): Promise<Response> {
  const addresses: string[] = await request.json();
  // No storage has this generation: this confirms nothing.
  const nothing = { generation: "", positions: [] };
  const counts = await Promise.all(addresses.map((address) => env.CONVERSATIONS.getByName(address).confirm(nothing)));
  return Response.json(counts.reduce((sum, { waiting }) => sum + waiting, 0));
}

export default {
  fetch: (request, env, ctx) =>
    new URL(request.url).pathname === "/chaos/waiting"
      ? waiting(env, request)
      : worker.fetch(request, surround(env, null), ctx),
  queue: (batch, env) => worker.queue(batch, surround(env, null)),
  scheduled: (round, env) => worker.scheduled(round, surround(env, null)),
} satisfies ExportedHandler<Surroundings>;
