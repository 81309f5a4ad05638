import type { QuotedMessage } from "./history.ts";
import type { InstanceBundle } from "./instance.ts";
import type { Session } from "./session.ts";
import type { User } from "./user.ts";

/** Instance and sender of a webhook message. */
export type ResolvedMessage = {
  bundle: InstanceBundle;
  user: User;
  /** The user's open session in Postgres; used only when the object has none. */
  openSession: Session | null;
  /** The quoted message, when Postgres was asked for it and has it. */
  quoted?: QuotedMessage | null;
};

/** The result of resolving a webhook message, before its turn can run. */
export type Resolution =
  | ({ kind: "ready" } & ResolvedMessage)
  /** Postgres has the message: it was received longer ago than the object remembers. */
  | { kind: "known" }
  /** The message can't become a turn. */
  | { kind: "rejected"; reason: RejectionReason; brandId: string | null }
  /** Postgres is unavailable. */
  | { kind: "unavailable" };

export type RejectionReason =
  | "no_instance"
  | "no_config"
  | "not_configured"
  | "guests_not_accepted"
  | "group_message"
  | "not_prepared";

/** The conversation that received a message: its address, and its owner once known. */
export type ConversationRef = {
  address: string;
  owner: { brandId: string; userId: string } | null;
  /** A quoted message of the owner that only Postgres may know: by the channel's id, and by ours where it is one of ours. */
  quoted?: { channelMessageId: string; messageId: string | null } | null;
};
