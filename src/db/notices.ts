import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { DELIVERY_STATES } from "../domain/delivery.ts";
import type { DeadLetter, DeliveryNotice, LedgerNotice } from "../domain/ledger.ts";
import type { Db } from "./client.ts";
import { transaction } from "./client.ts";
import { storable } from "./sql.ts";

/** Writes notices of any number of conversations in one transaction. Each may come twice, late and out of order. */
export async function writeNotices(db: Db, notices: readonly LedgerNotice[]): Promise<void> {
  const deliveries = notices.filter((notice) => notice.kind === "delivery");
  const deadLetters = notices.filter((notice) => notice.kind === "dead_letter");
  await transaction(db, [
    ...(deliveries.length > 0 ? [updateDeliveries(deliveries)] : []),
    ...(deadLetters.length > 0 ? [insertDeadLetters(deadLetters)] : []),
  ]);
}

/** How far a state is, as a number. */
const rank = (state: SQL): SQL =>
  sql`coalesce(array_position(string_to_array(${DELIVERY_STATES.join(",")}, ','), ${state}), 0)`;

/**
 * A delivery's state only advances: late notices change nothing. A statement can't update a row twice, so the last notice
 * of each message counts.
 */
const updateDeliveries = (notices: readonly DeliveryNotice[]): SQL => sql`
  update messages m
  set metadata_json = m.metadata_json || jsonb_build_object('delivery', d.delivery),
    content = coalesce(d.content, m.content), updated_at = now()
  from jsonb_to_recordset(${storable(
    [...new Map(notices.map((notice) => [notice.messageId, notice])).values()].map(
      ({ brandId, messageId, delivery, content }) => ({
        message_id: messageId,
        brand_id: brandId,
        delivery,
        content: content ?? null,
      }),
    ),
  )}) as d(message_id uuid, brand_id uuid, delivery jsonb, content text)
  where m.id = d.message_id and m.brand_id = d.brand_id
    and ${rank(sql`m.metadata_json #>> '{delivery,state}'`)} <= ${rank(sql`d.delivery ->> 'state'`)}`;

const insertDeadLetters = (deadLetters: readonly DeadLetter[]): SQL => sql`
  insert into dead_letters (id, brand_id, source, address, reason, payload_json)
  select id, brand_id, source, address, reason, payload
  from jsonb_to_recordset(${storable(
    deadLetters.map(({ id, brandId, source, address, reason, payload }) => ({
      ...{ id, source, address, reason, payload },
      brand_id: brandId,
    })),
  )}) as l(id uuid, brand_id uuid, source text, address text, reason text, payload jsonb)
  on conflict (id) do nothing`;
