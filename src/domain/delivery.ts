/**
 * What became of something we sent, in the order in which it can only climb. `unknown`: it left us and no answer came
 * back. `delivered` may never come: who reads at once has received. A message that failed may still turn out to have
 * arrived, one that arrived can't fail any more.
 */
export const DELIVERY_STATES = ["queued", "unknown", "sent", "failed", "delivered", "read", "played"] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

const rank = (state: DeliveryState): number => DELIVERY_STATES.indexOf(state);

/** The state after news that may be old, doubled or out of order. */
export const advance = (current: DeliveryState, news: DeliveryState): DeliveryState =>
  rank(news) > rank(current) ? news : current;

/** Of a message sent in parts: failed if one of them has, else as far as all of them are. */
export const overall = (parts: readonly [DeliveryState, ...DeliveryState[]]): DeliveryState =>
  parts.find((state) => state === "failed") ??
  parts.reduce((lowest, state) => (rank(state) < rank(lowest) ? state : lowest));

/** Why something was not delivered: the channel's own code and reason, or one of ours in capitals. */
export type DeliveryError = { code: number | string; reason: string };

/** A message's delivery as history shows it, in the message's metadata under `delivery`. */
export type Delivery = {
  state: DeliveryState;
  /** The channel's ids of what was sent, one a part. */
  ids: string[];
  /** Set when this template was sent instead of the message, because the channel's service window was closed. */
  template?: { name: string; language: string };
  error?: DeliveryError;
};

/** News of a delivery from the channel. */
export type DeliveryStatus = {
  /** The channel's id of what we sent. */
  id: string;
  /** What we gave it to come back with. */
  reference: string | null;
  state: DeliveryState;
  error: DeliveryError | null;
};

/** Carried by what we send, and brought back by its statuses: the message and which part of it. */
export const referenceOf = (messageId: string, part: number): string =>
  part === 1 ? messageId : `${messageId}/${part}`;

/** The message and the part a reference names; null for one that isn't ours. */
export function readReference(reference: string | null): { messageId: string; part: number } | null {
  const [, messageId, part = "1"] =
    /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\/(\d{1,3}))?$/.exec(reference ?? "") ?? [];
  return messageId === undefined ? null : { messageId, part: Number(part) };
}
