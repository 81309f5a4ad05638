import type { Channel } from "./channel.ts";
import type { Amendment } from "./amendment.ts";
import type { Role } from "./role.ts";

/** Kinds of messages that are answered. */
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

/** Kinds that are recorded and not answered. `unsupported` stands for every unknown type. */
export const SILENT_KINDS = [
  "reaction",
  "edit",
  "revoke",
  "call_permission",
  "preference",
  "welcome",
  "system",
  "unsupported",
] as const;

export type InboundKind = (typeof SPOKEN_KINDS)[number] | (typeof SILENT_KINDS)[number];

/** A user as identified by a channel; at least one of the ids is set. */
export type ChannelIdentity = {
  /** E.164. */
  phone: string | null;
  /** The user's id within one business; may come without a phone number. */
  userId: string | null;
};

/** The business's endpoint of a channel; at least one of the two is set. */
export type ChannelEndpoint = {
  /** E.164. */
  number: string | null;
  phoneNumberId: string | null;
};

/** One normalised message of a channel's webhook. Nothing is looked up yet. */
export type InboundMessage = {
  /** The channel's message id, used for deduplication. */
  id: string;
  channel: Channel;
  kind: InboundKind;
  /** `assistant` when the business wrote it in the channel's own app. */
  role: Role;
  person: ChannelIdentity;
  business: ChannelEndpoint;
  /** The group the message was written in; null for a private message. */
  groupId: string | null;
  /** Other identities the webhook names for the person. */
  otherIdentities: ChannelIdentity[];
  /** The person's identity from now on, when this message is a notice that it changed. */
  newIdentity: ChannelIdentity | null;
  /** Never empty. */
  content: string;
  /** Epoch milliseconds of the channel's clock. */
  sentAt: number;
  /** What the channel told besides, and the message as it came. */
  metadata: Record<string, unknown>;
  /** Set for an edit (`edit`) or a revocation (`edit: null`) of an earlier message. */
  amends?: Pick<Amendment, "target" | "edit"> | null;
  /** The channel's id of the quoted message. */
  replyTo?: string | null;
  /** Chosen by the sender: never trusted. */
  profile?: ContactProfile | null;
  /** Set when the user stopped or resumed marketing messages of the business. */
  marketing?: "stop" | "resume" | null;
};

/** The names a contact has given themselves on the channel. */
export type ContactProfile = { name?: string; username?: string };

/** Whether a message is answered: written by the user, not revoked, and no reaction or notice. */
export const wantsReply = ({ kind, role, metadata }: Pick<InboundMessage, "kind" | "role" | "metadata">): boolean =>
  role === "user" && (SPOKEN_KINDS as readonly InboundKind[]).includes(kind) && metadata.revoked === undefined;

/** How long a webhook's message id is remembered: longer than Meta's redelivery window of 7 days. */
export const WEBHOOK_MEMORY_MS = 8 * 24 * 3_600_000;
