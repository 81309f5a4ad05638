import type { Deps } from "../deps.ts";
import { Uuid } from "../domain/ids.ts";
import { deliverBroadcast } from "../flows/deliver-broadcast.ts";
import { EVENT } from "../telemetry/events.ts";

/**
 * Broadcasts rang. Always acknowledged: one that was not finished is rung again by its timer. Each on its own, so that one
 * that fails holds up no other.
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
