import worker, { Conversation as Product, BroadcastTimer as ProductTimer } from "../../src/index.ts";

export { RateLimiter } from "../../src/index.ts";

/** A named point of a turn that is seen from inside the Worker. */
type Point = "after-admit" | "after-settle" | "after-ring" | "before-confirm";

/** What the run reads off the log: that the service noticed a database that is away. */
const HEARD = '"event":"ledger_write_failed"';
const print = console.log;
// And nothing else: the process that starts the runtime waits for it while it evicts an object, reads no log meanwhile, and
// a runtime that can't write its log stands still.
console.log = (line: string) => {
  if (line.includes(HEARD)) print(line);
};

/** What the test process wants to happen at a point. While it kills the service, it answers nothing at all. */
export type Verdict = { act: "go" | "drop" | "double" | "abort" } | { act: "delay"; ms: number };

/** Where the test process listens, and where the orchestrator's stand-in does. */
type Surroundings = Env & { CHAOS_CONTROL: string; CHAOS_ORCHESTRATOR: string };

/**
 * The product as it is, in a world that can fail: what the platform gives it is wrapped, at the places where a turn leaves
 * an object or comes back. It knows nothing of this.
 *
 * Every question below is an outgoing request. One that leaves an object is held back by the platform's output gate until
 * all that the object wrote before is on disk; so whoever is killed while the question is open has written exactly what
 * the point's name says.
 */
function surround(env: Surroundings, object: DurableObjectState | null): Env {
  const at = async (point: Point, subject: string): Promise<Verdict> => {
    const response = await fetch(`${env.CHAOS_CONTROL}/${point}`, { method: "POST", body: subject });
    const verdict: Verdict = await response.json();
    if (verdict.act === "delay") await new Promise((resolve) => setTimeout(resolve, verdict.ms));
    if (verdict.act === "abort") object?.abort("chaos");
    return verdict;
  };
  /** A queue whose rings can be lost, doubled and late. */
  const ringing = (queue: Queue, after: boolean) => ({
    send: async (subject: string) => {
      const { act } = await at("after-settle", subject);
      if (act === "drop") return;
      await queue.send(subject);
      if (act === "double") await queue.send(subject);
      if (after) await at("after-ring", subject);
    },
  });
  const conversations = {
    getByName: (name: string) => {
      const stub = env.CONVERSATIONS.getByName(name);
      const confirm = async (upTo: number) => {
        await at("before-confirm", name);
        return stub.confirm(upTo);
      };
      // The queue's consumer stands outside of any object.
      return object === null
        ? new Proxy(stub, { get: (target, name) => (name === "confirm" ? confirm : Reflect.get(target, name)) })
        : stub;
    },
  };
  return {
    ...env,
    LEDGER: ringing(env.LEDGER, true),
    BROADCAST: ringing(env.BROADCAST, false),
    CONVERSATIONS: conversations,
    // A service binding, as a deploy may have: what the object asks goes through here, with the object at hand.
    ORCHESTRATOR: {
      fetch: async (_address: string, init: RequestInit) => {
        await at("after-admit", object?.id.name ?? "");
        return fetch(env.CHAOS_ORCHESTRATOR, init);
      },
    },
  } as unknown as Env;
}

/** The product's conversation, which can be aborted at a point of its turn. */
export class Conversation extends Product {
  constructor(ctx: DurableObjectState, env: Surroundings) {
    super(ctx, surround(env, ctx));
  }
}

/** The product's timer, whose rings can be lost. */
export class BroadcastTimer extends ProductTimer {
  constructor(ctx: DurableObjectState, env: Surroundings) {
    super(ctx, surround(env, ctx));
  }
}

/** How many entries wait in the outboxes of these conversations. */
async function waiting(env: Env, request: Request): Promise<Response> {
  const addresses: string[] = await request.json();
  // Nothing has the position 0: this confirms nothing, and tells.
  const counts = await Promise.all(addresses.map((address) => env.CONVERSATIONS.getByName(address).confirm(0)));
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
