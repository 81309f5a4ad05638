import { readWebhook } from "../channels/whatsapp/webhook.ts";
import type { Deps } from "../deps.ts";
import type { Addresses } from "../domain/address.ts";
import type { WebhookBatch } from "../rpc/conversation.ts";
import type { ChannelEndpoint, ChannelIdentity } from "../domain/inbound-message.ts";
import { unavailable } from "../domain/errors.ts";
import { EVENT } from "../telemetry/events.ts";

type Circumstances = { traceId: string; receivedAt: number };

/** What a notification had in it. */
export type Summary = { messages: number; duplicates: number; statuses: number; skipped: number };

/**
 * Gives every message and every status of a notification to its conversation, and has their word that it is kept; nothing
 * else is waited for. Refuses (503) when one of them could not be kept: then all of it is sent again, and only what is
 * new counts.
 */
export async function receiveWhatsAppWebhook(
  { conversation, log, addresses }: Pick<Deps, "conversation" | "log" | "addresses">,
  payload: unknown,
  circumstances: Circumstances,
): Promise<Summary> {
  const { messages, statuses, skipped } = readWebhook(payload, circumstances.receivedAt);
  for (const { what, type, value } of skipped) {
    log.warn(EVENT.webhookSkipped, { what, type, ...(value && { value }), trace_id: circumstances.traceId });
  }
  const arrivals = new Arrivals(addresses, circumstances);
  for (const message of messages.toSorted((a, b) => a.sentAt - b.sentAt)) {
    const { person, business, became } = message;
    const arrival = arrivals.at(business, person);
    arrival.messages.push(message);
    arrival.aliases.push(...otherAddresses(addresses, business, person, became));
  }
  for (const { person, business, status } of statuses) arrivals.at(business, person).statuses.push(status);

  const received = await deliver(conversation, log, arrivals);
  // A status names the person by both ids, and the conversation may be known by the other.
  const elsewhere = new Arrivals(addresses, circumstances);
  for (const { person, business, status } of statuses) {
    const isUnheard = received.some(({ unmatched }) =>
      unmatched.some(({ id, state }) => id === status.id && state === status.state),
    );
    if (!isUnheard || person.phone === null || person.userId === null) continue;
    elsewhere.at(business, { phone: null, userId: person.userId }).statuses.push(status);
  }
  await deliver(conversation, log, elsewhere);
  return {
    messages: messages.length,
    duplicates: received.reduce((sum, { duplicates }) => sum + duplicates, 0),
    statuses: statuses.length,
    skipped: skipped.length,
  };
}

/** What a notification brings, by conversation. */
class Arrivals {
  readonly #arrivals = new Map<string, WebhookBatch>();
  readonly #addresses: Addresses;
  readonly #circumstances: Circumstances;

  constructor(addresses: Addresses, circumstances: Circumstances) {
    this.#addresses = addresses;
    this.#circumstances = circumstances;
  }

  at(business: ChannelEndpoint, person: ChannelIdentity): WebhookBatch {
    const address = this.#addresses.whatsapp(business, person);
    const arrival = this.#arrivals.get(address) ?? { messages: [], statuses: [], aliases: [], ...this.#circumstances };
    this.#arrivals.set(address, arrival);
    return arrival;
  }

  entries(): [string, WebhookBatch][] {
    return [...this.#arrivals];
  }
}

/** The person's address by the channel's id, when they have been named by their number; and the one they will have. */
function otherAddresses(
  addresses: Addresses,
  business: ChannelEndpoint,
  { phone, userId }: ChannelIdentity,
  became: ChannelIdentity | null,
): string[] {
  const ids = [phone === null ? null : userId, became?.phone === null ? became.userId : null];
  return ids.flatMap((id) => (id === null ? [] : [addresses.whatsapp(business, { phone: null, userId: id })]));
}

async function deliver(conversation: Deps["conversation"], log: Deps["log"], arrivals: Arrivals) {
  const outcomes = await Promise.allSettled(
    arrivals.entries().map(([address, arrival]) => conversation(address).receive(arrival)),
  );
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  for (const { reason } of failures) log.error(EVENT.webhookSaveFailed, { error: reason });
  if (failures.length > 0) throw unavailable("A message could not be stored", failures[0]?.reason);
  return outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
}
