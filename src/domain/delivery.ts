/**
 * Delivery states in order: a delivery only advances. `unknown`: the request was sent and no response came back.
 * `delivered` may be skipped when the user reads at once; a failed message may still be reported as delivered.
 */
export const DELIVERY_STATES = ["queued", "unknown", "sent", "failed", "delivered", "read", "played"] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

const rank = (state: DeliveryState): number => DELIVERY_STATES.indexOf(state);

/** Applies a status that may be old, repeated or out of order. */
export const advance = (current: DeliveryState, reported: DeliveryState): DeliveryState =>
  rank(reported) > rank(current) ? reported : current;

/** The state of a message sent in parts: failed if any part has failed, else the lowest state of all parts. */
export const overall = (parts: readonly [DeliveryState, ...DeliveryState[]]): DeliveryState =>
  parts.find((state) => state === "failed") ??
  parts.reduce((lowest, state) => (rank(state) < rank(lowest) ? state : lowest));

/** Why a delivery failed: the channel's code and reason, or a code of the gateway in capitals. */
export type DeliveryError = { code: number | string; reason: string };

/** A message's delivery as shown in the history, under `delivery` in its metadata. */
export type Delivery = {
  state: DeliveryState;
  /** The channel's message ids, one per part. */
  ids: string[];
  /** Set when this template was sent instead of the message, because the channel's service window was closed. */
  template?: { name: string; language: string };
  error?: DeliveryError;
};

/** A delivery status reported by the channel. */
export type DeliveryStatus = {
  /** The channel's id of the sent message. */
  id: string;
  /** The reference sent with the message, which the channel returns in its statuses. */
  reference: string | null;
  state: DeliveryState;
  error: DeliveryError | null;
};

/** Sent with a message and returned by its statuses: the message's id and the number of the part. */
export const referenceOf = (messageId: string, part: number): string =>
  part === 1 ? messageId : `${messageId}/${part}`;

/** Reads the message id and part number of a reference; null for a reference of another system. */
export function readReference(reference: string | null): { messageId: string; part: number } | null {
  const [, messageId, part = "1"] =
    /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\/(\d{1,3}))?$/.exec(reference ?? "") ?? [];
  return messageId === undefined ? null : { messageId, part: Number(part) };
}
