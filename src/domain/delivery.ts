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
  /** Set when the message failed because only a template is accepted now. */
  needsTemplate?: boolean;
};

/**
 * Sent with a message and returned by its statuses: the message's id, the number of the part from the second on, and the
 * address of the conversation, `<id>/2@<address>`.
 */
export const referenceOf = (messageId: string, part: number, address: string): string =>
  `${messageId}${part === 1 ? "" : `/${part}`}@${address}`;

const REFERENCE = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:\/(\d{1,3}))?(?:@([0-9a-f]{22}))?$/;

/** Reads a reference; null for one of another system. References of former versions have no address. */
export function readReference(
  reference: string | null,
): { messageId: string; part: number; address: string | null } | null {
  const [, messageId, part = "1", address = null] = REFERENCE.exec(reference ?? "") ?? [];
  return messageId === undefined ? null : { messageId, part: Number(part), address };
}
