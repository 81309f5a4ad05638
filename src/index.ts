import { createApp } from "./app.ts";
import { consumeBroadcasts } from "./queues/broadcast.ts";
import { consumeLedger } from "./queues/ledger.ts";
import { applyRetention } from "./services/retention.ts";
import { createDeps } from "./compose.ts";

export { BroadcastTimer } from "../durable-objects/broadcast-timer.ts";
export { Conversation } from "../durable-objects/conversation.ts";
export { RateLimiter } from "../durable-objects/rate-limiter.ts";

const app = createApp();

/** By name without the environment, which stands behind it: `ledger`, `ledger-staging`. */
const consumers = { ledger: consumeLedger, broadcast: consumeBroadcasts };

export default {
  fetch: app.fetch,
  queue: (batch, env) => {
    const [name = ""] = batch.queue.split("-");
    const consume = consumers[name as keyof typeof consumers];
    if (consume === undefined) throw new Error(`Nobody consumes the queue ${batch.queue}`);
    return consume(createDeps(env), batch);
  },
  scheduled: (_round, env) => applyRetention(createDeps(env)),
} satisfies ExportedHandler<Env>;
