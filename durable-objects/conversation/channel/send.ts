import {
  SERVICE_WINDOW_MS,
  renderText,
  templateRequest,
  templateText,
  textRequest,
} from "../../../src/channels/whatsapp/reply.ts";
import type { ObjectDeps } from "../../../src/deps.ts";
import type {
  WebhookBatch,
  Outbound,
  Received,
  RecordedMessage,
  Undeliverable,
} from "../../../src/rpc/conversation.ts";
import { referenceOf } from "../../../src/domain/delivery.ts";
import type { Resolution } from "../../../src/domain/resolution.ts";
import { moveAliases, claimAliases } from "./forwarding.ts";
import { DeliverySender, WINDOW_CLOSED } from "./sender.ts";
import { receive } from "./receive.ts";
import type { Stores } from "../stores.ts";
import { resolve } from "./resolve.ts";
import type { Inbound, StoredTurn } from "../stores/turn.ts";
import { sessionTimeoutMs } from "../../../src/domain/session.ts";
import { EVENT } from "../../../src/telemetry/events.ts";

/** A preparation that failed this often for another reason than that Postgres is away is given up. */
const MAX_ATTEMPTS = 5;

type Options = Stores & {
  address: string;
  deps: Pick<
    ObjectDeps,
    "addresses" | "config" | "conversation" | "resolveWebhookMessage" | "log" | "now" | "sendWhatsApp"
  >;
  /** Tells the ledger that entries wait. */
  notifyLedger: () => void;
  /** Rejects the waiters of these turns. */
  cancelTurns: (turnIds: readonly string[]) => void;
  wake: (at: number) => void;
  background: (work: Promise<void>) => void;
};

/** The part of a conversation that goes through a channel's webhook: nobody waits for an answer, so it is sent. */
export class Correspondence {
  readonly sender: DeliverySender;
  readonly #options: Options;

  constructor(options: Options) {
    const { deliveries, background, wake, deps } = options;
    this.#options = options;
    this.sender = new DeliverySender({
      deliveries,
      send: deps.sendWhatsApp,
      windowIsOpen: (now) => this.#isOpen(now),
      changed: (messageId) => this.#notifyDelivery(messageId),
      background,
      wake,
      now: deps.now,
      random: Math.random,
      log: deps.log,
    });
  }

  /** Where the conversation is, if not here: known for good once a message has named the person by both ids. */
  async forwardTo(aliases: readonly string[]): Promise<string | null> {
    const { state, address, deps } = this.#options;
    if (state.get("forwardsTo") === null) await claimAliases(this.#options, address, aliases, deps.conversation);
    return state.get("forwardsTo");
  }

  /** Takes in what came, and what the channel says of what was sent. Synchronous: it is written when this returns. */
  receive(arrival: WebhookBatch): Received {
    const { address, deps } = this.#options;
    const received = receive(this.#options, arrival, { address, now: deps.now() });
    const unmatched = arrival.statuses.filter((news) => {
      const messageId = this.#options.deliveries.applyStatus(news);
      if (messageId !== null) this.#notifyDelivery(messageId);
      return messageId === null;
    });
    if (unmatched.length > 0) deps.log.info(EVENT.deliveryStatusUnmatched, { count: unmatched.length, address });
    return { ...received, unmatched };
  }

  /** Finds out whose and to whom a message is, and makes it what it turns out to be. False when Postgres is away. */
  async resolve(turn: StoredTurn & { inbound: Inbound }, attempt: number): Promise<boolean> {
    const { address, deps } = this.#options;
    const { became, business } = turn.inbound.message;
    const preparation = await this.#lookUp(turn.inbound, attempt);
    if (preparation.kind === "unavailable") return false;
    if (preparation.kind === "ready" && became !== null && became.phone !== null) {
      await moveAliases(this.#options, deps.addresses.whatsapp(business, became), deps.conversation);
    }
    const config = preparation.kind === "ready" ? preparation.bundle.config : null;
    const cancelled = resolve(this.#options, turn, preparation, {
      address,
      sessionTimeoutMs: sessionTimeoutMs(config, deps.config.sessionTimeoutMinutes),
      now: deps.now(),
    });
    if (cancelled.length > 0) this.#options.cancelTurns(cancelled);
    if (preparation.kind === "rejected") {
      deps.log.warn(EVENT.messageRejected, { reason: preparation.reason, turn_id: turn.turnId, address });
    }
    this.#options.notifyLedger();
    return true;
  }

  /**
   * Puts a message of ours on its way, in the same synchronous step in which it was kept: one that is on its way already
   * is not sent again. `replyTo` is the channel's id of what it answers.
   */
  send(
    { id: messageId, content }: Pick<RecordedMessage, "id" | "content">,
    { person, phoneNumberId, template }: Outbound,
    replyTo: string | null,
  ): void {
    const { state, deps } = this.#options;
    const owner = state.get("owner");
    if (phoneNumberId === null || owner === null) {
      deps.log.error(EVENT.deliveryEndpointMissing, { message_id: messageId });
      return;
    }
    const envelope = (part: number) => ({ person, reference: referenceOf(messageId, part) });
    const parts = renderText(content).map((body, index) =>
      textRequest(envelope(index + 1), body, index === 0 ? replyTo : null),
    );
    const instead = template && { request: templateRequest(envelope(1), template), text: templateText(template) };
    const now = deps.now();
    const requests = instead !== null && !this.#isOpen(now) ? [instead.request] : parts;
    this.#options.deliveries.queue(
      { messageId, brandId: owner.brandId, phoneNumberId, requests, template: instead },
      now,
    );
    this.#notifyDelivery(messageId);
    this.sender.sendNext();
  }

  /**
   * Why nothing could be sent for a message now, or null. A message that is under way or was sent can always be recorded
   * again.
   */
  undeliverable({ id }: Pick<RecordedMessage, "id">, { template }: Outbound): Undeliverable | null {
    const { deliveries, deps } = this.#options;
    if (deliveries.isUnderWay(id)) return null;
    if (template !== null || this.#isOpen(deps.now())) return null;
    return { kind: "undeliverable", code: String(WINDOW_CLOSED.code), message: WINDOW_CLOSED.reason };
  }

  /** Whether the person may be written to freely. */
  #isOpen(now: number): boolean {
    return now - (this.#options.state.get("lastHeardAt") ?? 0) < SERVICE_WINDOW_MS;
  }

  /** Without Postgres a conversation that is known goes on with what it knows of itself. */
  async #lookUp({ message }: Inbound, attempt: number): Promise<Resolution> {
    const { state, deps, address } = this.#options;
    const owner = state.get("owner");
    const bundle = state.get("bundle");
    try {
      const found = await deps.resolveWebhookMessage(message, { address, owner });
      if (found.kind !== "unavailable" || owner === null || bundle === null || message.became !== null) return found;
      return { kind: "ready", bundle, user: { id: owner.userId, tier: "verified" }, openSession: null };
    } catch (error) {
      if (attempt < MAX_ATTEMPTS) throw error;
      deps.log.error(EVENT.messageResolutionFailed, { error, address });
      return { kind: "rejected", reason: "not_prepared", brandId: owner?.brandId ?? null };
    }
  }

  #notifyDelivery(messageId: string): void {
    const { deliveries, outbox, notifyLedger } = this.#options;
    const change = deliveries.takeChange(messageId);
    if (change === null) return;
    const { brandId, delivery, content, wasFailed } = change;
    // The next prompt holds what was sent: the template instead of the message, and no message that failed.
    if (content !== null || wasFailed || delivery.state === "failed") {
      outbox.amend({ id: messageId }, (message) => ({
        ...message,
        content: content ?? message.content,
        metadata: { ...message.metadata, delivery },
      }));
    }
    outbox.addNotice({ kind: "delivery", messageId, brandId, delivery, content });
    notifyLedger();
  }
}
