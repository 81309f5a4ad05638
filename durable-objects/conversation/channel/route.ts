import type { Refused } from "../../../src/domain/errors.ts";
import type { Via } from "../../../src/rpc/conversation.ts";
import { EVENT } from "../../../src/telemetry/events.ts";
import type { ChannelContext } from "./context.ts";

/** Hops of one call. The addresses of one contact form chains of two or three. */
export const MAX_HOPS = 16;

/** Where a call is handled. `loop`: forwarding led back here; it is refused, and succeeds when it is repeated. */
export type Route = { kind: "here" } | { kind: "forward"; to: string; via: Via } | { kind: "loop" };

/**
 * The route of a call that was forwarded by the addresses in `via`. A phone number that was reassigned leads to its
 * present holder, but only for calls that come directly: ids of the former holder go on to their conversation.
 */
export function route(
  { state, address, deps }: Pick<ChannelContext, "state" | "address"> & { deps: Pick<ChannelContext["deps"], "log"> },
  via: Via = [],
): Route {
  const isLoop = via.includes(address);
  if (isLoop || via.length >= MAX_HOPS) {
    // Stored addresses that forward to each other are cut here.
    if (isLoop) state.remove("forwardsTo");
    deps.log.error(EVENT.forwardingLoop, { address, hops: via.length });
    return { kind: "loop" };
  }
  const reassigned = via.length === 0 ? state.get("reassignedTo") : null;
  if (reassigned !== null) {
    return { kind: "forward", to: reassigned.address, via: [`${reassigned.kind}:${address}`] };
  }
  const forwardsTo = state.get("forwardsTo");
  return forwardsTo === null ? { kind: "here" } : { kind: "forward", to: forwardsTo, via: [...via, address] };
}

/** The refusal of a call that was forwarded in a circle. */
export const FORWARDING_LOOP: Refused = {
  kind: "refused",
  code: "SERVICE_UNAVAILABLE",
  message: "The conversation can't be reached now",
  details: { retry_after_ms: 1_000 },
};

/** The phone number that a direct call was addressed to, by its first hop; null for other calls. */
export function numberOf([first = ""]: Via): { address: string; isReleased: boolean } | null {
  const [, kind, address = ""] = /^(released|assigned):(.+)$/.exec(first) ?? [];
  return kind === undefined ? null : { address, isReleased: kind === "released" };
}
