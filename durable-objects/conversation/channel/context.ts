import type { ObjectDeps } from "../../../src/deps.ts";
import type { Stores } from "../stores.ts";
import type { DeliverySender } from "./sender.ts";

/** The conversation as the functions of its channel see it. */
export type ChannelContext = Stores & {
  address: string;
  deps: Pick<
    ObjectDeps,
    "addresses" | "config" | "channel" | "conversation" | "log" | "now" | "resolveWebhookMessage" | "sender"
  >;
  deliverySender: Pick<DeliverySender, "sendNext">;
  /** Tells the ledger that entries wait. */
  notifyLedger: () => void;
  /** Runs the next turn, and sets the alarm that watches it. */
  startTurns: () => void;
  /** Rejects the waiters of these turns and aborts the run of one. A turn that is still pending runs again. */
  cancelTurns: (turnIds: readonly string[]) => void;
};
