import { advance, overall, readReference } from "../../../src/domain/delivery.ts";
import type { Channel } from "../../../src/domain/channel.ts";
import type { Delivery, DeliveryError, DeliveryStatus, DeliveryState } from "../../../src/domain/delivery.ts";
import { templateOf, toPart, visible } from "./delivery-row.ts";
import type { DeliveryPart, DeliveryRow } from "./delivery-row.ts";
import type { SqlValue, Storage } from "../../runtime/storage.ts";

/** `read` statuses arrive when the user opens the chat, which may take weeks. */
const LIFETIME_MS = 30 * 24 * 3_600_000;

/** An outbound message with the request bodies of its parts, in order. */
export type OutboundMessage = {
  messageId: string;
  channel: Channel;
  brandId: string;
  phoneNumberId: string;
  requests: Record<string, unknown>[];
  /** Sent instead of all parts when the service window is closed, and as which text it then stands in the history. */
  template: { request: Record<string, unknown>; text: string } | null;
};

/** A changed delivery; `content` is what was sent, when that is not the message itself. */
export type DeliveryChange = { brandId: string; delivery: Delivery; content: string | null; wasFailed: boolean };

/** Outbound message parts of one conversation and their delivery states. */
export class DeliveryStore {
  readonly #storage: Storage;

  constructor(storage: Storage) {
    this.#storage = storage;
  }

  /** Queues the parts of a message. A part that was queued before stays as it is, unless it failed: then it is sent again. */
  queue({ messageId, channel, brandId, phoneNumberId, requests, template }: OutboundMessage, now: number): void {
    for (const [index, request] of requests.entries()) {
      this.#run(
        `INSERT INTO deliveries (message_id, part, channel, brand_id, phone_number_id, state, request, template, template_text, due_at,
           expires_at)
         VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)
         ON CONFLICT (message_id, part) DO UPDATE SET state = 'queued', phone_number_id = excluded.phone_number_id,
           request = excluded.request, template = excluded.template, template_text = excluded.template_text,
           due_at = excluded.due_at, expires_at = excluded.expires_at, attempts = 0, error = NULL, sent_template = NULL,
           channel_message_id = NULL
         WHERE state = 'failed'`,
        messageId,
        index + 1,
        channel,
        brandId,
        phoneNumberId,
        JSON.stringify(request),
        index === 0 && template !== null ? JSON.stringify(template.request) : null,
        index === 0 && template !== null ? template.text : null,
        now,
        now + LIFETIME_MS,
      );
    }
  }

  /** The oldest part that is queued or being sent: parts are sent in order. */
  next(): DeliveryPart | null {
    const [row] = this.#rows("SELECT * FROM deliveries WHERE state IN ('queued', 'sending') ORDER BY position LIMIT 1");
    return row ? toPart(row) : null;
  }

  /** Marks a part before its request is sent. After a crash a part in `sending` may have been delivered. */
  start({ position, messageId, part }: DeliveryPart, body: Record<string, unknown>): void {
    const template = templateOf(body);
    this.#run(
      "UPDATE deliveries SET state = 'sending', attempts = attempts + 1, sent_template = ? WHERE position = ?",
      template === null ? null : JSON.stringify(template),
      position,
    );
    // A template stands for the whole message.
    if (template !== null && part === 1) {
      this.#run(
        "DELETE FROM deliveries WHERE message_id = ? AND part > 1 AND state IN ('queued', 'failed')",
        messageId,
      );
    }
  }

  /** Whether the message is on its way or was sent. */
  isUnderWay(messageId: string): boolean {
    return this.#rows("SELECT * FROM deliveries WHERE message_id = ? AND state <> 'failed'", messageId).length > 0;
  }

  /** The message that was sent under this id of the channel, or null. */
  messageOf(channelMessageId: string): string | null {
    const [row] = this.#rows("SELECT * FROM deliveries WHERE channel_message_id = ? LIMIT 1", channelMessageId);
    return row?.message_id ?? null;
  }

  /** The channel accepted the part under this id. A status that arrived earlier takes precedence. */
  markSent({ position }: DeliveryPart, channelMessageId: string): void {
    this.#run("UPDATE deliveries SET channel_message_id = ? WHERE position = ?", channelMessageId, position);
    this.#advance(position, "sent", null);
  }

  /** The outcome is not known. */
  markUnknown({ position }: DeliveryPart, error: DeliveryError): void {
    this.#advance(position, "unknown", error);
  }

  /** Schedules another attempt, unless a status has settled the part meanwhile. */
  postpone({ position }: DeliveryPart, dueAt: number, request?: Record<string, unknown>): void {
    this.#run(
      `UPDATE deliveries SET state = 'queued', due_at = ?, request = coalesce(?, request)
       WHERE position = ? AND state = 'sending'`,
      dueAt,
      request === undefined ? null : JSON.stringify(request),
      position,
    );
  }

  /** Fails the part and the queued parts of the same message. */
  markFailed({ position, messageId }: DeliveryPart, error: DeliveryError): void {
    this.#advance(position, "failed", error);
    for (const row of this.#rows("SELECT * FROM deliveries WHERE message_id = ? AND state = 'queued'", messageId)) {
      this.#advance(row.position, "failed", error);
    }
  }

  /** Applies a delivery status. Returns the id of its message, or null when it matches no message sent from here. */
  applyStatus({ id, reference, state, error, needsTemplate = false }: DeliveryStatus): string | null {
    const named = readReference(reference);
    const [row] = named
      ? this.#rows("SELECT * FROM deliveries WHERE message_id = ? AND part = ?", named.messageId, named.part)
      : this.#rows("SELECT * FROM deliveries WHERE channel_message_id = ? ORDER BY position DESC LIMIT 1", id);
    if (row === undefined) return null;
    // A status of the request that the template has replaced.
    if (row.replaced_id === id) return row.message_id;
    if (needsTemplate && row.template !== null && row.sent_template === null) return this.#replace(row, id);
    this.#run(
      "UPDATE deliveries SET channel_message_id = coalesce(channel_message_id, ?) WHERE position = ?",
      id,
      row.position,
    );
    this.#advance(row.position, state, error);
    return row.message_id;
  }

  /** The message's delivery and brand if the delivery has changed since the last call, else null. */
  takeChange(messageId: string): DeliveryChange | null {
    const parts = this.#rows("SELECT * FROM deliveries WHERE message_id = ? ORDER BY part", messageId);
    const [first, ...rest] = parts;
    if (first === undefined) return null;
    const error = parts.find(({ state }) => state === "failed" || state === "unknown")?.error;
    const delivery: Delivery = {
      state: overall([visible(first), ...rest.map(visible)]),
      ids: parts.flatMap(({ channel_message_id }) => channel_message_id ?? []),
      ...(first.sent_template === null
        ? {}
        : { template: JSON.parse(first.sent_template) as NonNullable<Delivery["template"]> }),
      ...(error ? { error: JSON.parse(error) as DeliveryError } : {}),
    };
    const announced = JSON.stringify(delivery);
    if (announced === first.announced) return null;
    this.#run("UPDATE deliveries SET announced = ? WHERE position = ?", announced, first.position);
    const before = first.announced === null ? null : (JSON.parse(first.announced) as Delivery);
    const wasSent = delivery.state !== "queued" && delivery.state !== "failed";
    return {
      brandId: first.brand_id,
      delivery,
      content: first.sent_template !== null && wasSent ? first.template_text : null,
      wasFailed: before?.state === "failed",
    };
  }

  /** Counts parts that are queued or being sent. */
  waiting(): number {
    return this.#rows("SELECT * FROM deliveries WHERE state IN ('queued', 'sending')").length;
  }

  /** Deletes deliveries after their lifetime and returns when the next one expires. */
  sweep(now: number): number | null {
    this.#run("DELETE FROM deliveries WHERE expires_at <= ?", now);
    const [row] = this.#storage.sql
      .exec<{ at: number | null }>("SELECT min(expires_at) AS at FROM deliveries")
      .toArray();
    return row?.at ?? null;
  }

  /** Queues the template instead of the message, all parts of which were refused. Once: a sent template is kept. */
  #replace({ position, message_id }: DeliveryRow, id: string): string {
    this.#run("DELETE FROM deliveries WHERE message_id = ? AND part > 1", message_id);
    this.#run(
      `UPDATE deliveries SET state = 'queued', request = template, channel_message_id = NULL, replaced_id = ?, error = NULL
       WHERE position = ?`,
      id,
      position,
    );
    return message_id;
  }

  #advance(position: number, reported: DeliveryState, error: DeliveryError | null): void {
    const [row] = this.#rows("SELECT * FROM deliveries WHERE position = ?", position);
    if (row === undefined) return;
    const state = advance(visible(row), reported);
    if (state !== reported) return;
    this.#run(
      `UPDATE deliveries SET state = ?, error = ?, request = NULL,
         template = CASE WHEN ? IN ('sent', 'unknown') THEN template END WHERE position = ?`,
      state,
      error === null ? null : JSON.stringify(error),
      // A status may still tell that only the template is accepted.
      state,
      position,
    );
  }

  #rows(query: string, ...bindings: SqlValue[]): DeliveryRow[] {
    return this.#storage.sql.exec<DeliveryRow>(query, ...bindings).toArray();
  }

  #run(query: string, ...bindings: SqlValue[]): void {
    this.#storage.sql.exec(query, ...bindings);
  }
}
