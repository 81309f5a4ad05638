import type { Status } from "../channels/whatsapp/status.ts";
import { addressOfSent } from "../db/messages.ts";
import type { Deps } from "../deps.ts";
import { aliasesOf } from "../domain/address.ts";
import { readReference } from "../domain/delivery.ts";
import { isDatabaseUnavailable } from "../domain/errors.ts";
import type { ChannelEndpoint } from "../domain/inbound-message.ts";
import type { AddressedStatus, Via, WebhookBatch } from "../rpc/conversation.ts";
import { EVENT } from "../telemetry/events.ts";

type StatusDeps = Pick<Deps, "conversation" | "log" | "addresses" | "read">;
type Circumstances = { traceId: string; receivedAt: number };
type Target = { address: string; via: Via };
type Pending = { status: AddressedStatus; business: ChannelEndpoint; targets: Target[] };

/** Calls that name the conversation itself, not a phone number that may have changed hands. */
const BY_REFERENCE: Via = ["reference"];

/**
 * Delivers statuses to the conversations that sent the messages: the one the reference names, else those of the recipient
 * by any spelling, else the one Postgres has the message in. A status of another system's message is logged.
 */
export async function deliverStatuses(
  deps: StatusDeps,
  statuses: readonly Status[],
  circumstances: Circumstances,
): Promise<void> {
  let pending = statuses.map(({ status, business, recipients }): Pending => {
    const aliases = aliasesOf(deps.addresses, business, recipients);
    const address = readReference(status.reference)?.address ?? null;
    return {
      status: { ...status, aliases },
      business,
      targets: [
        ...(address === null ? [] : [{ address, via: BY_REFERENCE }]),
        ...aliases.map(({ address }) => ({ address, via: [] })),
      ],
    };
  });
  for (let isLookedUp = false; pending.length > 0;) {
    const ready = pending.filter(({ targets }) => targets.length > 0);
    if (ready.length > 0) {
      const unmatched = await deliverFirst(deps, ready, circumstances);
      pending = [...pending.filter(({ targets }) => targets.length === 0), ...unmatched];
    } else if (isLookedUp) break;
    else {
      pending = await lookUp(deps, pending);
      isLookedUp = true;
    }
  }
  if (pending.length > 0) deps.log.info(EVENT.deliveryStatusUnmatched, { count: pending.length });
}

/** Delivers each status to its first target. Returns those that matched nothing there, with their further targets. */
async function deliverFirst(
  { conversation }: StatusDeps,
  pending: readonly Pending[],
  circumstances: Circumstances,
): Promise<Pending[]> {
  const groups = Map.groupBy(pending, ({ targets: [target] }) => JSON.stringify(target));
  const outcomes = await Promise.all(
    [...groups].map(async ([key, group]) => {
      const { address, via } = JSON.parse(key) as Target;
      const batch: WebhookBatch = {
        kind: "number",
        messages: [],
        statuses: group.map(({ status }) => status),
        aliases: [],
        via,
        ...circumstances,
      };
      const { unmatched } = await conversation(address).receive(batch);
      const isUnmatched = ({ status: { id, state } }: Pending) =>
        unmatched.some((other) => other.id === id && other.state === state);
      return group.filter(isUnmatched);
    }),
  );
  return outcomes.flat().map((status) => ({ ...status, targets: status.targets.slice(1) }));
}

/** The conversations in which Postgres has the messages. Without Postgres there are none: another status will come. */
async function lookUp({ read, log }: StatusDeps, pending: readonly Pending[]): Promise<Pending[]> {
  return Promise.all(
    pending.map(async (item) => {
      const { id, reference } = item.status;
      try {
        const messageId = readReference(reference)?.messageId ?? null;
        const address = await read(
          addressOfSent({ channel: "whatsapp", endpoint: item.business }, { messageId, channelMessageId: id }),
        );
        return { ...item, targets: address === null ? [] : [{ address, via: BY_REFERENCE }] };
      } catch (error) {
        if (!isDatabaseUnavailable(error)) throw error;
        log.warn(EVENT.databaseUnavailable, { error });
        return item;
      }
    }),
  );
}
