import { createApp } from "./app.ts";
import { createDeps } from "./deps.ts";
import { consumeLedger } from "./queues/ledger.ts";

export { Conversation } from "../durable-objects/conversation.ts";

const app = createApp();

export default {
  fetch: app.fetch,
  queue: (batch, env) => consumeLedger(createDeps(env), batch),
} satisfies ExportedHandler<Env>;
