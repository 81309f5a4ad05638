import type { Conversation, JoinOutcome } from "../../../src/rpc/conversation.ts";
import type { FactStore } from "../stores/state.ts";
import type { Turns } from "../stores/turns.ts";

/**
 * One person may have several addresses: by phone number, and by ids of the channel. The conversation is at one of them,
 * the others pass on. Who is asked (`join`) answers at once and asks nobody, so two of them never wait for each other.
 */

type Parts = { facts: FactStore; turns: Turns };

/** Whether a conversation is here: then this address is not given up for one where there is none. */
const isEstablished = ({ facts, turns }: Parts): boolean => facts.get("owner") !== null || turns.head() !== null;

/** Answers another address of the same person. */
export function join(parts: Parts, address: string, main: string, established: boolean): JoinOutcome {
  const movedTo = parts.facts.get("movedTo");
  if (movedTo === main) return { kind: "joined" };
  if (!established && movedTo !== null) return { kind: "follow", to: movedTo };
  if (!established && isEstablished(parts)) return { kind: "follow", to: address };
  parts.facts.set("movedTo", main);
  return { kind: "joined" };
}

/**
 * Makes other addresses of the person pass on to this one, each once; or finds that the conversation is there already,
 * and passes on itself from now on.
 */
export async function joinAliases(
  parts: Parts,
  address: string,
  aliases: readonly string[],
  at: (address: string) => Pick<Conversation, "join">,
): Promise<void> {
  const { facts } = parts;
  for (const alias of aliases) {
    if (alias === address || facts.get("aliases")?.includes(alias)) continue;
    const outcome = await at(alias).join(address, isEstablished(parts));
    if (outcome.kind === "follow") {
      // Nobody has said anything here while we asked: there is nothing to give up.
      if (!isEstablished(parts)) return facts.set("movedTo", outcome.to);
      await at(alias).join(address, true);
    }
    facts.set("aliases", [...(facts.get("aliases") ?? []), alias]);
  }
}

/**
 * The person goes on under another phone number: what passed on to here passes on to there, and whoever is given the old
 * number begins anew. Asked again it does the same.
 */
export async function handOver(
  { facts }: Pick<Parts, "facts">,
  to: string,
  at: (address: string) => Pick<Conversation, "join">,
): Promise<void> {
  for (const alias of facts.get("aliases") ?? []) if (alias !== to) await at(alias).join(to, true);
}

/** Forgets whose conversation this was. */
export function leave(facts: FactStore): void {
  for (const name of ["owner", "session", "aliases", "lastHeardAt"] as const) facts.remove(name);
}
