import type { Deps } from "../deps.ts";
import { Uuid } from "../domain/ids.ts";
import { deliverBroadcast } from "../flows/deliver-broadcast.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * Delivers the broadcasts of a queue batch, each independently of the others. The batch is always acknowledged: the timer
 * enqueues an unfinished broadcast again.
 */
export async function consumeBroadcasts(deps: Deps, batch: MessageBatch): Promise<void> {
  const ids = new Set(batch.messages.map((message) => String(message.body)));
  await Promise.all(
    [...ids].map(async (id) => {
      try {
        await deliverBroadcast(deps, Uuid.parse(id));
      } catch (error) {
        deps.log.error(EVENT.broadcastRoundFailed, { error, broadcast_id: id });
      }
    }),
  );
  batch.ackAll();
}
