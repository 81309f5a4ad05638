import type { Channel } from "../../../src/domain/channel.ts";
import type { Delivery, DeliveryState } from "../../../src/domain/delivery.ts";

/** A row of `deliveries`: one part of a message. */
export type DeliveryRow = {
  position: number;
  message_id: string;
  part: number;
  channel: Channel;
  brand_id: string;
  phone_number_id: string;
  state: DeliveryPart["state"];
  request: string | null;
  template: string | null;
  template_text: string | null;
  sent_template: string | null;
  attempts: number;
  due_at: number;
  channel_message_id: string | null;
  replaced_id: string | null;
  error: string | null;
  announced: string | null;
};

/** One part of an outbound message. `sending`: the request was started and its outcome is not known yet. */
export type DeliveryPart = {
  position: number;
  messageId: string;
  part: number;
  channel: Channel;
  phoneNumberId: string;
  state: DeliveryState | "sending";
  /** The request body; null when no attempt can follow. */
  request: Record<string, unknown> | null;
  /** The template sent outside the service window; on the first part only, null when the instance has none. */
  template: Record<string, unknown> | null;
  attempts: number;
  /** Earliest time of the next attempt, epoch milliseconds. */
  dueAt: number;
};

/** `sending` is internal; the API reports it as `queued`. */
export const visible = ({ state }: Pick<DeliveryRow, "state">): DeliveryState =>
  state === "sending" ? "queued" : state;

/** Name and language of the template in a request; null for any other request. */
export function templateOf({ type, template }: Record<string, unknown>): NonNullable<Delivery["template"]> | null {
  if (type !== "template") return null;
  const { name, language } = template as { name: string; language: { code: string } };
  return { name, language: language.code };
}

export const toPart = (row: DeliveryRow): DeliveryPart => ({
  position: row.position,
  messageId: row.message_id,
  part: row.part,
  channel: row.channel,
  phoneNumberId: row.phone_number_id,
  state: row.state,
  request: row.request === null ? null : (JSON.parse(row.request) as Record<string, unknown>),
  template: row.template === null ? null : (JSON.parse(row.template) as Record<string, unknown>),
  attempts: row.attempts,
  dueAt: row.due_at,
});
