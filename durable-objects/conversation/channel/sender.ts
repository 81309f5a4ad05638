import { backoff, jittered } from "../../../src/domain/backoff.ts";
import type { ChannelSender, RequestBody, SendOutcome } from "../../../src/channels/channel.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import type { ChannelIdentity } from "../../../src/domain/inbound-message.ts";
import type { DeliveryError } from "../../../src/domain/delivery.ts";
import type { Logger } from "../../../src/telemetry/logger.ts";
import type { DeliveryStore } from "../stores/deliveries.ts";
import type { DeliveryPart } from "../stores/delivery-row.ts";
import { EVENT } from "../../../src/telemetry/events.ts";

/** How often one part is tried before it is given up. */
const MAX_ATTEMPTS = 12;
const MAX_PAUSE_MS = 10 * 60_000;
const JITTER = [1, 1.25] as const;
/** The pause after a first failure. The Graph API takes one message to one person every six seconds: https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput */
const FIRST_PAUSE_MS = { rate: 1_000, transient: 1_000, pair: 6_000 };
/** Watchdog interval for parts with a request that was lost with an earlier incarnation. */
const WATCH_MS = 30_000;

const NOT_CONFIGURED: DeliveryError = {
  code: "NOT_CONFIGURED",
  reason: "No access token is configured",
};
export const WINDOW_CLOSED: DeliveryError = {
  code: "WINDOW_CLOSED",
  reason: "The user last wrote more than 24 hours ago, and the instance has no template",
};
const NO_ANSWER: DeliveryError = { code: "NO_ANSWER", reason: "We stopped while it was being sent" };

type Options = {
  deliveries: DeliveryStore;
  /** null when the channel is not configured to send. */
  sender: (channel: Channel) => ChannelSender | null;
  /** Whether the channel accepts free-form messages to the contact now. */
  isWindowOpen: (channel: Channel, now: number) => boolean;
  /** Called when a message's delivery has changed. */
  changed: (messageId: string) => void;
  /** Called with the recipient as the channel names it, which may differ from the one the part was sent to. */
  learned: (part: DeliveryPart, recipient: ChannelIdentity) => void;
  background: (work: Promise<void>) => void;
  /** Asks to be woken at a time. */
  wake: (at: number) => void;
  now: () => number;
  random: () => number;
  log: Logger;
};

/**
 * Sends queued parts one at a time, in order. Which part is being sent is kept in memory only: a part that another
 * incarnation finds as `sending` may have arrived, so it becomes `unknown` and is not sent again.
 */
export class DeliverySender {
  readonly #options: Options;
  #busy = false;

  constructor(options: Options) {
    this.#options = options;
  }

  /** Sends the next part that is due, unless one is being sent. */
  sendNext(): void {
    const { deliveries, now, background, wake } = this.#options;
    for (let part = deliveries.next(); part !== null && !this.#busy; part = deliveries.next()) {
      if (part.state === "sending") this.#settle(part, () => deliveries.markUnknown(part, NO_ANSWER));
      else if (part.dueAt > now()) return wake(part.dueAt);
      else {
        const request = this.#requestFor(part);
        if ("reason" in request) this.#settle(part, () => deliveries.markFailed(part, request));
        else {
          this.#busy = true;
          deliveries.start(part, request.body);
          wake(now() + WATCH_MS);
          background(this.#send(part, request.send, request.body));
        }
      }
    }
  }

  /** Alarm task. */
  readonly resume = (now: number): number | null => {
    this.sendNext();
    const part = this.#options.deliveries.next();
    if (part === null) return null;
    return this.#busy ? now + WATCH_MS : part.dueAt;
  };

  /** The request and its sender, or why none may be sent. */
  #requestFor(part: DeliveryPart): { send: ChannelSender; body: RequestBody } | DeliveryError {
    const { sender, isWindowOpen, now } = this.#options;
    const send = sender(part.channel);
    if (send === null) return NOT_CONFIGURED;
    const body = isWindowOpen(part.channel, now()) ? part.request : part.template;
    return body === null ? WINDOW_CLOSED : { send, body };
  }

  async #send(part: DeliveryPart, send: ChannelSender, body: RequestBody): Promise<void> {
    const outcome = await send(part.phoneNumberId, body);
    this.#busy = false;
    this.#settle(part, () => this.#take(part, outcome));
    this.sendNext();
  }

  #take(part: DeliveryPart, outcome: SendOutcome): void {
    const { deliveries, log, now } = this.#options;
    if (outcome.kind === "sent") {
      if (outcome.recipient !== null) this.#options.learned(part, outcome.recipient);
      return deliveries.markSent(part, outcome.id);
    }
    const line = { message_id: part.messageId, code: outcome.error.code, attempts: part.attempts + 1 };
    if (outcome.kind === "unknown") {
      log.warn(EVENT.deliveryUnknown, line);
      return deliveries.markUnknown(part, outcome.error);
    }
    const { remedy, error } = outcome;
    if (remedy.kind === "retry" && part.attempts + 1 < MAX_ATTEMPTS) {
      log.warn(EVENT.deliveryRetryScheduled, line);
      return deliveries.postpone(part, now() + this.#pause(part, remedy.pace, outcome.retryAfterMs));
    }
    if (remedy.kind === "template" && part.template !== null && part.request?.type !== part.template.type) {
      return deliveries.postpone(part, now(), part.template);
    }
    log[remedy.kind === "give_up" && remedy.alert ? "error" : "warn"](EVENT.deliveryFailed, line);
    return deliveries.markFailed(part, error);
  }

  /** Exponential backoff, and never less than the Graph API asks for. */
  #pause({ attempts }: DeliveryPart, pace: keyof typeof FIRST_PAUSE_MS, retryAfterMs: number | null): number {
    const pause = backoff(attempts, { baseMs: FIRST_PAUSE_MS[pace], maxMs: MAX_PAUSE_MS }, 0);
    return jittered(Math.max(pause, retryAfterMs ?? 0), JITTER, this.#options.random());
  }

  #settle({ messageId }: DeliveryPart, change: () => void): void {
    change();
    this.#options.changed(messageId);
  }
}
