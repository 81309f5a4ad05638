import type { InstanceBundle } from "./instance.ts";
import type { Session } from "./session.ts";
import type { User } from "./user.ts";

/** Whose and to whom a message is that came through a webhook. */
export type ResolvedMessage = {
  bundle: InstanceBundle;
  user: User;
  /** The open session Postgres knows of; used only when the object has none. */
  openSession: Session | null;
};

/** What is found out about a message that came through a webhook, before its turn can run. */
export type Resolution =
  | ({ kind: "ready" } & ResolvedMessage)
  /** Postgres has it: it came before, longer ago than the object remembers. */
  | { kind: "known" }
  /** Nothing can be made of it. */
  | { kind: "rejected"; reason: RejectionReason; brandId: string | null }
  /** Postgres is away. */
  | { kind: "unavailable" };

export type RejectionReason = "no_instance" | "no_config" | "not_configured" | "guests_not_accepted" | "not_prepared";

/** What the conversation a message came to knows of itself. */
export type ConversationRef = { address: string; owner: { brandId: string; userId: string } | null };
