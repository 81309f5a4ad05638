import type { Deps } from "../deps.ts";
import { consumeBroadcasts } from "./broadcast.ts";
import { consumeLedger } from "./ledger.ts";

type Consumer = (deps: Deps, batch: MessageBatch) => Promise<void>;

const CONSUMERS = new Map<string, Consumer>([
  ["ledger", consumeLedger],
  ["broadcast", consumeBroadcasts],
]);

/**
 * Returns the consumer of a queue. A batch carries its queue's name but no binding, so exactly one of the name's parts
 * between hyphens must be `ledger` or `broadcast`: `ledger-staging`, `parley-ledger`. Throws otherwise.
 */
export function findConsumer(queue: string): Consumer {
  const [consumer, ...others] = queue.split("-").flatMap((part) => CONSUMERS.get(part) ?? []);
  if (consumer === undefined || others.length > 0) {
    throw new Error(`Queue ${queue} has no consumer: its name must contain "ledger" or "broadcast" between hyphens`);
  }
  return consumer;
}
