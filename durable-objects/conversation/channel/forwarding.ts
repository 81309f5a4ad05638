import type { AliasOutcome, AssignOutcome, PrimaryAddress, Via } from "../../../src/rpc/conversation.ts";
import { aliasesOf, newAddress } from "../../../src/domain/address.ts";
import type { Alias } from "../../../src/domain/address.ts";
import type { ChannelEndpoint, ChannelIdentity } from "../../../src/domain/inbound-message.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import { EVENT } from "../../../src/telemetry/events.ts";
import type { Reassignment, StateStore } from "../stores/state.ts";
import type { ChannelContext } from "./context.ts";
import { MAX_HOPS } from "./route.ts";

/**
 * One contact may have several addresses: by phone numbers and by ids of the channel. The conversation is at one of them,
 * the primary address, and the others forward. Ids belong to one contact for ever, so `forwardsTo` never changes; phone
 * numbers change hands, so `reassignedTo` does. An address forwards only to one of a better rank, and a rank only improves,
 * so no order of claims makes a circle.
 */

type Context = Pick<ChannelContext, "state" | "address"> & {
  deps: Pick<ChannelContext["deps"], "conversation" | "log" | "now">;
};

/** Marks that messages other than system notices are here: this conversation is not given up for an empty one. */
export function markFounded(state: StateStore, now: number): void {
  if (state.get("foundedAt") === null) state.set("foundedAt", now);
}

const primaryOf = ({ state, address }: Pick<Context, "state" | "address">): PrimaryAddress => ({
  address,
  foundedAt: state.get("foundedAt"),
  kind: state.get("addressKind") ?? "number",
});

/** The older conversation wins; among equals the phone number's, then the lower address. */
function precedes(one: PrimaryAddress, other: PrimaryAddress): boolean {
  const [a, b] = [one, other].map(({ foundedAt }) => foundedAt ?? Number.POSITIVE_INFINITY);
  if (a !== b) return (a ?? 0) < (b ?? 0);
  if (one.kind !== other.kind) return one.kind === "number";
  return one.address < other.address;
}

/**
 * Answers a primary that claims this address. `kind` is the address's own when the claim names it, null when the claim
 * followed another address here. With `onlyUnfounded` two conversations that both have messages stay apart.
 */
export function acceptAlias(
  context: Pick<Context, "state" | "address"> & { deps: Pick<Context["deps"], "now"> },
  primary: PrimaryAddress,
  { kind, onlyUnfounded }: { kind: Alias["kind"] | null; onlyUnfounded: boolean },
): AliasOutcome {
  const { state, deps } = context;
  if (kind !== null) state.set("addressKind", kind);
  if (kind === "number" && state.get("reassignedTo") !== null) {
    reassign(state, { address: primary.address, kind: "assigned" }, deps.now());
    return { kind: "joined" };
  }
  const forwardsTo = state.get("forwardsTo");
  if (forwardsTo !== null)
    return forwardsTo === primary.address ? { kind: "joined" } : { kind: "follow", to: forwardsTo };
  if (onlyUnfounded && state.get("foundedAt") !== null) return { kind: "separate" };
  if (precedes(primaryOf(context), primary)) return { kind: "precedes" };
  state.set("forwardsTo", primary.address);
  return { kind: "joined" };
}

/**
 * Makes other addresses of the contact forward here, each once. When the conversation is at one of them, this address
 * forwards to it from now on (`forwardsTo`). Returns an address when this batch alone belongs there.
 */
export async function claimAliases(
  context: Context,
  aliases: readonly Alias[],
  onlyUnfounded: boolean,
): Promise<string | null> {
  const { state, address } = context;
  let elsewhere: string | null = null;
  for (const alias of aliases) {
    if (alias.address === address || state.get("aliases")?.includes(alias.address)) continue;
    const outcome = await claim(context, alias, onlyUnfounded);
    if (state.get("forwardsTo") !== null) return null;
    if (outcome.kind === "separate") elsewhere ??= outcome.to;
    if (outcome.kind !== "done") continue;
    state.set("aliases", [...(state.get("aliases") ?? []), alias.address]);
    if (alias.kind === "number") rememberNumber(state, alias.address);
  }
  return elsewhere;
}

/** Claims the addresses of a recipient as the channel names it, so that the next message from there comes here. */
export async function learnAliases(
  context: Context & { deps: Pick<ChannelContext["deps"], "addresses"> },
  business: ChannelEndpoint,
  recipient: ChannelIdentity,
): Promise<void> {
  const { state, address, deps } = context;
  if (state.get("forwardsTo") !== null) return;
  try {
    await claimAliases(context, aliasesOf(deps.addresses, business, [recipient]), false);
  } catch (error) {
    // The next message that is sent tells the recipient again.
    deps.log.warn(EVENT.aliasClaimFailed, { error, address });
  }
}

type ClaimOutcome = { kind: "done" } | { kind: "failed" } | { kind: "separate"; to: string };

async function claim(context: Context, alias: Alias, onlyUnfounded: boolean): Promise<ClaimOutcome> {
  const { state, address, deps } = context;
  let target = alias.address;
  let kind: Alias["kind"] | null = alias.kind;
  for (let hops = 0; hops < MAX_HOPS; hops += 1) {
    if (target === address) return { kind: "done" };
    const asked = primaryOf(context);
    const outcome = await deps.conversation(target).acceptAlias(asked, { kind, onlyUnfounded });
    if (outcome.kind === "separate") return { kind: "separate", to: target };
    // Another claim may have linked this address during the call.
    if (outcome.kind === "joined" || state.get("forwardsTo") !== null) return { kind: "done" };
    if (outcome.kind === "follow") [target, kind] = [outcome.to, null];
    // A message that arrived here during the call may have improved the rank that was compared.
    else if (asked.foundedAt === state.get("foundedAt")) {
      state.set("forwardsTo", target);
      return { kind: "done" };
    }
  }
  deps.log.error(EVENT.forwardingLoop, { address: target, hops: MAX_HOPS });
  return { kind: "failed" };
}

/**
 * Assigns this phone number to a conversation: calls that come directly are forwarded there. A primary without messages does
 * not take a number from a conversation that may have some: it is told to follow.
 */
export function assignNumber(
  { state, address, deps }: Pick<Context, "state" | "address"> & { deps: Pick<Context["deps"], "now"> },
  primary: PrimaryAddress,
): AssignOutcome {
  state.set("addressKind", "number");
  const founded = state.get("foundedAt") === null ? null : address;
  const current = state.get("reassignedTo")?.address ?? state.get("forwardsTo") ?? founded;
  if (current === primary.address) return { kind: "joined" };
  if (primary.foundedAt === null && current !== null) return { kind: "follow", to: current };
  reassign(state, primary.address === address ? null : { address: primary.address, kind: "assigned" }, deps.now());
  return { kind: "joined" };
}

/**
 * The contact of the conversation on this path gave up this phone number: the next message from it is another user's.
 * A number that has another holder already is left alone.
 */
export function releaseNumber(
  { state, deps }: Pick<Context, "state"> & { deps: Pick<Context["deps"], "now"> },
  path: readonly string[],
): void {
  const current = state.get("reassignedTo");
  if (current !== null && !path.includes(current.address)) return;
  reassign(state, { address: newAddress(), kind: "released" }, deps.now());
}

/** Messages that went to the former target may be delivered again: it is asked about them while they can be. */
function reassign(state: StateStore, next: Reassignment | null, now: number): void {
  const former = state.get("reassignedTo")?.address ?? state.get("forwardsTo");
  const formers = (state.get("formerTargets") ?? []).filter(({ until }) => until > now);
  if (former !== null) formers.push({ address: former, until: now + WEBHOOK_MEMORY_MS });
  state.set("formerTargets", formers);
  if (next === null) state.remove("reassignedTo");
  else state.set("reassignedTo", next);
}

export function rememberNumber(state: StateStore, number: string): void {
  const numbers = state.get("numbers") ?? [];
  if (!numbers.includes(number)) state.set("numbers", [...numbers, number]);
}

/**
 * Follows a contact to another phone number: the new one is assigned to this conversation, the old ones are released.
 * Repeated it changes nothing. `old` is the number the notice names, `via` the hops it came by.
 */
export async function changeNumber(
  context: Context,
  { old, next, via }: { old: string | null; next: string; via: Via },
): Promise<void> {
  const { state, address, deps } = context;
  if (old === next) return;
  await deps.conversation(next).assignNumber(primaryOf(context));
  rememberNumber(state, next);
  const isOwnNumber = state.get("addressKind") === "number";
  const given = new Set([
    ...(state.get("numbers") ?? []),
    ...(old === null ? [] : [old]),
    ...(isOwnNumber ? [address] : []),
  ]);
  given.delete(next);
  for (const number of given) {
    if (number === address) releaseNumber(context, [address, ...via]);
    else await deps.conversation(number).releaseNumber([address, ...via]);
  }
  state.set("numbers", [next]);
}

/** Follows a new phone number to the conversation that is there, when there is none here. */
export async function followNumber(context: Context, next: string): Promise<void> {
  const { state, address, deps } = context;
  if (state.get("foundedAt") !== null || next === address) return;
  const outcome = await deps.conversation(next).assignNumber(primaryOf(context));
  if (outcome.kind === "follow") await claimAliases(context, [{ address: outcome.to, kind: null }], false);
}
