import type { Role } from "./role.ts";

/** What somebody says: it gets an answer. */
export const SPOKEN_KINDS = [
  "text",
  "image",
  "audio",
  "video",
  "document",
  "sticker",
  "location",
  "contacts",
  "button",
  "interactive",
  "order",
] as const;

/** What somebody does, or what is told about them: it is kept as it is. `unsupported` is whatever we don't know. */
export const SILENT_KINDS = ["reaction", "edit", "revoke", "system", "unsupported"] as const;

export type InboundKind = (typeof SPOKEN_KINDS)[number] | (typeof SILENT_KINDS)[number];

/** A person as a channel names them: at least one of the ids is there. */
export type ChannelIdentity = {
  /** E.164. */
  phone: string | null;
  /** The id of the person within one business; it may come without a phone number. */
  userId: string | null;
};

/** The business's end of a channel. At least one of the two is there. */
export type ChannelEndpoint = {
  /** E.164. */
  number: string | null;
  phoneNumberId: string | null;
};

/** One message of a channel's webhook, normalised. Nothing is known of it but what it says itself. */
export type InboundMessage = {
  /** The channel's own id: what is recognised when it comes twice. */
  id: string;
  kind: InboundKind;
  /** `assistant` when the business said it itself, in the channel's own app. */
  role: Exclude<Role, "system">;
  person: ChannelIdentity;
  business: ChannelEndpoint;
  /** What the person goes by from now on, when this message tells that it changed. */
  became: ChannelIdentity | null;
  /** Never empty. */
  content: string;
  /** By the channel's clock, epoch milliseconds. */
  sentAt: number;
  /** What the channel told besides, and the message as it came. */
  metadata: Record<string, unknown>;
};

/** Whether a message is answered: words of a person, not of the business, and not a gesture. */
export const wantsReply = ({ kind, role }: Pick<InboundMessage, "kind" | "role">): boolean =>
  role === "user" && (SPOKEN_KINDS as readonly InboundKind[]).includes(kind);

/** How long a webhook's message id is remembered: longer than anybody sends it again (7 days). */
export const WEBHOOK_MEMORY_MS = 8 * 24 * 3_600_000;
