import type { Conversation, AliasOutcome } from "../../../src/rpc/conversation.ts";
import type { ChannelContext } from "./context.ts";
import type { StateStore } from "../stores/state.ts";
import type { TurnStore } from "../stores/turns.ts";

/**
 * One person may have several addresses: by phone number, and by ids of the channel. The conversation is at one of them,
 * the others pass on. Who is asked (`join`) answers at once and asks nobody, so two of them never wait for each other.
 */

type Parts = { state: StateStore; turns: TurnStore };

/** Whether a conversation is here: then this address is not given up for one where there is none. */
const isEstablished = ({ state, turns }: Parts): boolean => state.get("owner") !== null || turns.next() !== null;

/** Answers another address of the same person. */
export function acceptAlias(parts: Parts, address: string, main: string, established: boolean): AliasOutcome {
  const forwardsTo = parts.state.get("forwardsTo");
  if (forwardsTo === main) return { kind: "joined" };
  if (!established && forwardsTo !== null) return { kind: "follow", to: forwardsTo };
  if (!established && isEstablished(parts)) return { kind: "follow", to: address };
  parts.state.set("forwardsTo", main);
  return { kind: "joined" };
}

/**
 * Makes other addresses of the person pass on to this one, each once; or finds that the conversation is there already,
 * and passes on itself from now on.
 */
export async function claimAliases(
  parts: Parts,
  address: string,
  aliases: readonly string[],
  at: (address: string) => Pick<Conversation, "acceptAlias">,
): Promise<void> {
  const { state } = parts;
  for (const alias of aliases) {
    if (alias === address || state.get("aliases")?.includes(alias)) continue;
    const outcome = await at(alias).acceptAlias(address, isEstablished(parts));
    if (outcome.kind === "follow") {
      // Nobody has said anything here while we asked: there is nothing to give up.
      if (!isEstablished(parts)) return state.set("forwardsTo", outcome.to);
      await at(alias).acceptAlias(address, true);
    }
    state.set("aliases", [...(state.get("aliases") ?? []), alias]);
  }
}

/** The address that messages for this one are forwarded to, after its aliases were claimed; null when they stay here. */
export async function forwardingTarget(
  context: Pick<ChannelContext, "state" | "turns" | "address"> & { deps: Pick<ChannelContext["deps"], "conversation"> },
  aliases: readonly string[],
): Promise<string | null> {
  const { state, address, deps } = context;
  if (state.get("forwardsTo") === null) await claimAliases(context, address, aliases, deps.conversation);
  return state.get("forwardsTo");
}

/**
 * The person goes on under another phone number: what passed on to here passes on to there, and whoever is given the old
 * number begins anew. Asked again it does the same.
 */
export async function moveAliases(
  { state }: Pick<Parts, "state">,
  to: string,
  at: (address: string) => Pick<Conversation, "acceptAlias">,
): Promise<void> {
  for (const alias of state.get("aliases") ?? []) if (alias !== to) await at(alias).acceptAlias(to, true);
}

/** Forgets whose conversation this was. */
export function clearOwner(state: StateStore): void {
  for (const name of ["owner", "session", "aliases", "lastHeardAt"] as const) state.remove(name);
}
