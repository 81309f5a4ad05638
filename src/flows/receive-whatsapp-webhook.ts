import { readWebhook } from "../channels/whatsapp/webhook.ts";
import type { Deps } from "../deps.ts";
import { aliasesOf } from "../domain/address.ts";
import type { Addresses, AddressKind, Alias } from "../domain/address.ts";
import { unavailable } from "../domain/errors.ts";
import type { ChannelEndpoint, ChannelIdentity, InboundMessage } from "../domain/inbound-message.ts";
import type { Received, WebhookBatch } from "../rpc/conversation.ts";
import { EVENT } from "../telemetry/events.ts";
import { deliverStatuses } from "./deliver-statuses.ts";

type Circumstances = { traceId: string; receivedAt: number };

/** Counts of a notification's contents. */
export type Summary = { messages: number; duplicates: number; statuses: number; skipped: number };

/**
 * Delivers every message and status of a notification to its conversation, and returns when each is stored. Refuses (503)
 * when one could not be: Meta sends all of it again, and only what is new counts.
 */
export async function receiveWhatsAppWebhook(
  deps: Pick<Deps, "conversation" | "log" | "addresses" | "read">,
  payload: unknown,
  circumstances: Circumstances,
): Promise<Summary> {
  const { messages, statuses, skipped } = readWebhook(payload, circumstances.receivedAt);
  for (const item of skipped) deps.log.warn(EVENT.webhookSkipped, { ...item, trace_id: circumstances.traceId });
  const batches = new Map<string, WebhookBatch[]>();
  for (const message of messages.toSorted((a, b) => a.sentAt - b.sentAt)) {
    const { address, kind, aliases } = entryOf(deps.addresses, message);
    const batch = batchFor(batches, address, kind, circumstances);
    batch.messages.push(message);
    batch.aliases.push(...aliases);
  }
  const outcomes = await Promise.allSettled([
    ...[...batches].map(([address, parts]) => deliver(deps, address, parts)),
    deliverStatuses(deps, statuses, circumstances).then(() => []),
  ]);
  const failures = outcomes.filter((outcome) => outcome.status === "rejected");
  for (const { reason } of failures) deps.log.error(EVENT.webhookSaveFailed, { error: reason });
  if (failures.length > 0) throw unavailable("A message could not be kept", failures[0]?.reason);
  const received = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? outcome.value : []));
  return {
    messages: messages.length,
    duplicates: received.reduce((sum, { duplicates }) => sum + duplicates, 0),
    statuses: statuses.length,
    skipped: skipped.length,
  };
}

/** One after the other: messages after a change of number may be another user's. */
async function deliver(
  { conversation }: Pick<Deps, "conversation">,
  address: string,
  batches: readonly WebhookBatch[],
): Promise<Received[]> {
  const received: Received[] = [];
  for (const batch of batches) received.push(await conversation(address).receive(batch));
  return received;
}

/** The open batch of an address. A batch ends with a message that changes the contact's phone number. */
function batchFor(
  batches: Map<string, WebhookBatch[]>,
  address: string,
  kind: AddressKind,
  circumstances: Circumstances,
): WebhookBatch {
  const parts = batches.get(address) ?? [];
  batches.set(address, parts);
  const last = parts.at(-1);
  if (last !== undefined && last.messages.at(-1)?.newIdentity?.phone == null) return last;
  const batch: WebhookBatch = { kind, messages: [], statuses: [], aliases: [], ...circumstances };
  parts.push(batch);
  return batch;
}

type Entry = { address: string; kind: AddressKind; aliases: Alias[] };

/**
 * The address a message comes to: of the contact's phone number, else of their id. The other ids it names are aliases. A
 * group has an address of its own, where messages are only rejected.
 */
function entryOf(
  addresses: Addresses,
  { business, groupId, person, otherIdentities, newIdentity }: InboundMessage,
): Entry {
  if (groupId !== null) return { address: groupAddress(addresses, business, groupId), kind: "id", aliases: [] };
  const [address, kind] = [addresses.whatsapp(business, person), person.phone === null ? "id" : "number"] as const;
  const identities: ChannelIdentity[] = [
    { phone: null, userId: person.userId },
    ...otherIdentities,
    { phone: null, userId: newIdentity?.userId ?? null },
  ];
  return {
    address,
    kind,
    aliases: aliasesOf(addresses, business, identities).filter((alias) => alias.address !== address),
  };
}

const groupAddress = (addresses: Addresses, business: ChannelEndpoint, groupId: string): string =>
  addresses.whatsapp(business, { phone: null, userId: `group/${groupId}` });
