import { unavailable } from "../../../src/domain/errors.ts";
import { requestIdOf } from "../../../src/domain/idempotency.ts";
import type { Received, Via, WebhookBatch } from "../../../src/rpc/conversation.ts";
import { announceDelivery } from "./send.ts";
import type { ChannelContext } from "./context.ts";
import { changeNumber, claimAliases, followNumber, rememberNumber } from "./forwarding.ts";
import { receive } from "./receive.ts";
import { numberOf, route } from "./route.ts";

/** Accepts a webhook batch where the contact's conversation is, whichever of their addresses it came to. */
export async function accept(context: ChannelContext, arrival: WebhookBatch): Promise<Received> {
  const { via = [] } = arrival;
  const { state } = context;
  if (via.length === 0 && arrival.messages.length > 0) state.set("addressKind", arrival.kind);
  const { batch, duplicates } = await withoutKnown(context, arrival);
  const received = await acceptNew(context, batch);
  return { ...received, duplicates: received.duplicates + duplicates };
}

async function acceptNew(context: ChannelContext, batch: WebhookBatch): Promise<Received> {
  const { state } = context;
  const { via = [] } = batch;
  const first = route(context, via);
  if (first.kind === "loop") throw unavailable("The conversation's addresses forward to each other", null);
  if (first.kind === "forward") return forward(context, batch, first);

  const number = numberOf(via);
  if (number !== null) rememberNumber(state, number.address);
  const onlyUnfounded = number !== null && number.isReleased && state.get("foundedAt") !== null;
  const elsewhere = await claimAliases(context, batch.aliases, onlyUnfounded);
  for (const { next } of numberChanges(context, batch)) await followNumber(context, next);
  // A batch is redirected once; at its second conversation ids that lead to the first one stay there.
  const to = state.get("forwardsTo") ?? (via.length === 1 ? elsewhere : null);
  if (to !== null) return forward(context, batch, { to, via: [...via, context.address] });

  const received = receive(context, batch);
  context.startTurns();
  const unmatched = new Set(received.unmatched.map(({ id, state }) => `${id} ${state}`));
  const learnt = batch.statuses.filter(({ id, state }) => !unmatched.has(`${id} ${state}`));
  await claimAliases(
    context,
    learnt.flatMap(({ aliases = [] }) => aliases),
    false,
  );
  for (const change of numberChanges(context, batch)) await changeNumber(context, { ...change, via });
  return received;
}

/** The phone numbers that messages of the batch say the contact left and has now, as addresses. */
const numberChanges = ({ deps: { addresses } }: ChannelContext, { messages }: WebhookBatch) =>
  messages.flatMap(({ business, person, newIdentity }) => {
    if (newIdentity === null || newIdentity.phone === null) return [];
    const at = (phone: string) => addresses.whatsapp(business, { phone, userId: null });
    return [{ old: person.phone === null ? null : at(person.phone), next: at(newIdentity.phone) }];
  });

/** Forwards a batch without the messages that were received here before and the statuses of messages sent from here. */
async function forward(
  context: ChannelContext,
  batch: WebhookBatch,
  { to, via }: { to: string; via: Via },
): Promise<Received> {
  const { deps, deliveries } = context;
  const messages = batch.messages.filter(({ id }) => !isKnown(context, id));
  const duplicates = batch.messages.length - messages.length;
  const statuses = batch.statuses.filter((status) => {
    const messageId = deliveries.applyStatus(status);
    if (messageId !== null) announceDelivery(context, messageId);
    return messageId === null;
  });
  context.deliverySender.sendNext();
  if (messages.length + statuses.length === 0) return { accepted: 0, duplicates, unmatched: [] };
  const received = await deps.conversation(to).receive({ ...batch, messages, statuses, via });
  return { ...received, duplicates: received.duplicates + duplicates };
}

/** Whether a message or request with this id was received here. */
export const isKnown = ({ turns, address }: Pick<ChannelContext, "turns" | "address">, id: string): boolean =>
  turns.find(address, requestIdOf(id)) !== null;

/** Drops messages that a former target of this phone number has received: they are delivered again, not new. */
async function withoutKnown(
  { state, deps }: Pick<ChannelContext, "state" | "deps">,
  batch: WebhookBatch,
): Promise<{ batch: WebhookBatch; duplicates: number }> {
  const formers = (state.get("formerTargets") ?? []).filter(({ until }) => until > deps.now());
  if ((batch.via ?? []).length > 0 || formers.length === 0) return { batch, duplicates: 0 };
  const ids = batch.messages.map(({ id }) => id);
  const known = new Set<string>();
  for (const { address } of formers)
    for (const id of await deps.conversation(address).knownMessages(ids)) known.add(id);
  const messages = batch.messages.filter(({ id }) => !known.has(id));
  return { batch: { ...batch, messages }, duplicates: ids.length - messages.length };
}

/** Which of these message ids were received here, or where this address forwards to. */
export async function knownMessages(context: ChannelContext, ids: readonly string[], via: Via = []): Promise<string[]> {
  const { state, deps, address } = context;
  const known = ids.filter((id) => isKnown(context, id));
  const forwardsTo = state.get("forwardsTo");
  const others = ids.filter((id) => !known.includes(id));
  if (forwardsTo === null || others.length === 0 || via.includes(address)) return known;
  return [...known, ...(await deps.conversation(forwardsTo).knownMessages(others, [...via, address]))];
}
