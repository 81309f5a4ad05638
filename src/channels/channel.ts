import type { DeliveryError } from "../domain/delivery.ts";
import type { ChannelIdentity } from "../domain/inbound-message.ts";
import type { WhatsAppTemplate } from "../domain/instance.ts";

/** Everything that differs between channels. The rest of the service asks this value and never a channel's name. */
export type ChannelDefinition = {
  /**
   * What a conversation is addressed by. `user`: the user who was looked up. `contact`: the identity the channel names,
   * known before any query; request ids are unique per address, and the conversation's owner is the sender.
   */
  addressedBy: "user" | "contact";
  /** True when the channel has verified the identifiers of its senders. */
  vouchesForIdentifiers: boolean;
  /** How replies are delivered. null when the caller receives the reply in the response. */
  delivery: ChannelDelivery | null;
};

export type ChannelDelivery = {
  /** Free-form messages are allowed for this long after the contact last wrote. Milliseconds. */
  serviceWindowMs: number;
  /** The request bodies of a text, one per part, in order. `replyTo` is the channel's id of the message it answers. */
  renderText: (contact: ChannelIdentity, referenceOf: (part: number) => string, reply: TextReply) => RequestBody[];
  /** The request body of a message template, allowed at any time, and its text as the history shows it. */
  renderTemplate: (contact: ChannelIdentity, reference: string, template: WhatsAppTemplate) => RenderedTemplate;
};

export type TextReply = { content: string; replyTo: string | null };
export type RenderedTemplate = { request: RequestBody; text: string };
export type RequestBody = Record<string, unknown>;

/** What to do about a message the channel refused. */
export type Remedy =
  /** Never retry. `alert` when every other message will be refused too until an operator acts. */
  | { kind: "give_up"; alert: boolean }
  /** Retry later: a rate limit, the limit for one recipient, or a transient failure. */
  | { kind: "retry"; pace: "rate" | "pair" | "transient" }
  /** The service window is closed: only a template is accepted. */
  | { kind: "template" };

export type SendOutcome =
  /** `recipient` is the contact as the channel names it, where the response tells. */
  | { kind: "sent"; id: string; recipient: ChannelIdentity | null }
  | { kind: "refused"; error: DeliveryError; remedy: Remedy; retryAfterMs: number | null }
  /** The request was sent and its outcome is not known: only a status will tell. */
  | { kind: "unknown"; error: DeliveryError };

/** Sends one request body from an endpoint of the business. Never throws. */
export type ChannelSender = (endpointId: string, request: RequestBody) => Promise<SendOutcome>;
