import { createApp } from "./app.ts";
import { findConsumer } from "./queues/consumers.ts";
import { applyRetention } from "./services/retention.ts";
import { createDeps } from "./compose.ts";

export { BroadcastTimer } from "../durable-objects/broadcast-timer.ts";
export { Conversation } from "../durable-objects/conversation.ts";
export { RateLimiter } from "../durable-objects/rate-limiter.ts";

const app = createApp();

export default {
  fetch: app.fetch,
  queue: (batch, env) => findConsumer(batch.queue)(createDeps(env), batch),
  scheduled: (_round, env) => applyRetention(createDeps(env)),
} satisfies ExportedHandler<Env>;
