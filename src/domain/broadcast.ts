/** The states of one person's delivery. `sent` and `failed` are final; `cancelled` was never claimed. */
export const RECIPIENT_STATES = ["pending", "claimed", "sent", "failed", "cancelled"] as const;
export type RecipientState = (typeof RECIPIENT_STATES)[number];
