import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { DELIVERY_STATES } from "../domain/delivery.ts";
import type { AmendmentNotice, ContactNotice, DeadLetter, DeliveryNotice, LedgerNotice } from "../domain/ledger.ts";
import type { Db } from "./client.ts";
import { transaction } from "./client.ts";
import { iso, storable } from "./sql.ts";

/** Writes notices of any number of conversations in one transaction. Each may come twice, late and out of order. */
export async function writeNotices(db: Db, notices: readonly LedgerNotice[]): Promise<void> {
  const deliveries = notices.filter((notice) => notice.kind === "delivery");
  const deadLetters = notices.filter((notice) => notice.kind === "dead_letter");
  const amendments = notices.filter((notice) => notice.kind === "amendment");
  const contacts = notices.filter((notice) => notice.kind === "contact");
  await transaction(db, [
    ...(deliveries.length > 0 ? [updateDeliveries(deliveries)] : []),
    ...(amendments.length > 0 ? [amendMessages(amendments)] : []),
    ...(contacts.length > 0 ? [updateContacts(contacts)] : []),
    ...(deadLetters.length > 0 ? [insertDeadLetters(deadLetters)] : []),
  ]);
}

/** How far a state is, as a number. */
const rank = (state: SQL): SQL =>
  sql`coalesce(array_position(string_to_array(${DELIVERY_STATES.join(",")}, ','), ${state}), 0)`;

/**
 * A delivery's state only advances: late notices change nothing. A statement can't update a row twice, so the last notice
 * of each message counts. A status that names nothing but the channel's id finds the message by its first part's.
 */
const updateDeliveries = (notices: readonly DeliveryNotice[]): SQL => sql`
  update messages m
  set metadata_json = m.metadata_json || jsonb_build_object('delivery', d.delivery),
    content = coalesce(d.content, m.content), updated_at = now(),
    channel_message_id = case when exists (select from messages other
        where other.instance_id = m.instance_id and other.channel_message_id = d.delivery #>> '{ids,0}')
      then m.channel_message_id else coalesce(m.channel_message_id, d.delivery #>> '{ids,0}') end
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

/**
 * Applies edits and revocations (`domain/amendment.ts`) to rows that an older notice has not changed later: the latest edit
 * stands, and a revoked message stays revoked. An edited caption keeps the file of its message.
 */
const amendMessages = (notices: readonly AmendmentNotice[]): SQL => sql`
  update messages m
  set content = case when a.edit is not null then a.edit ->> 'content' when a.is_blanked then '' else m.content end,
    metadata_json = case
      when a.edit is not null then m.metadata_json || (a.edit -> 'metadata') || jsonb_strip_nulls(jsonb_build_object(
        'edited', jsonb_build_object('at', a.at),
        'whatsapp', coalesce(m.metadata_json -> 'whatsapp', '{}') || coalesce(a.edit #> '{metadata,whatsapp}', '{}'))
        ) || case when a.edit #> '{metadata,attachments,0}' is null then '{}' else jsonb_build_object('attachments',
          jsonb_build_array(coalesce(m.metadata_json #> '{attachments,0}', '{}') || (a.edit #> '{metadata,attachments,0}'))) end
      when a.is_blanked then jsonb_build_object('channel', m.metadata_json -> 'channel', 'revoked', jsonb_build_object('at', a.at))
      else m.metadata_json || jsonb_build_object('revoked', jsonb_build_object('at', a.at)) end,
    updated_at = now()
  from jsonb_to_recordset(${storable(
    lastAmendments(notices).map(({ brandId, instanceId, channelMessageId, role, at, edit, isBlanked }) => ({
      brand_id: brandId,
      instance_id: instanceId,
      channel_message_id: channelMessageId,
      role,
      at: iso(at),
      edit,
      is_blanked: isBlanked,
    })),
  )}) as a(brand_id uuid, instance_id uuid, channel_message_id text, role text, at text, edit jsonb, is_blanked boolean)
  where m.instance_id = a.instance_id and m.channel_message_id = a.channel_message_id and m.brand_id = a.brand_id
    and m.role = a.role and not m.metadata_json ? 'revoked'
    and (a.edit is null or coalesce(m.metadata_json #>> '{edited,at}', '') <= a.at)`;

/** A statement can't update a row twice: of each message the revocation counts, else the latest edit. */
function lastAmendments(notices: readonly AmendmentNotice[]): AmendmentNotice[] {
  const last = new Map<string, AmendmentNotice>();
  for (const notice of notices) {
    const key = JSON.stringify([notice.instanceId, notice.channelMessageId, notice.role]);
    const known = last.get(key);
    if (known !== undefined && (known.edit === null || (notice.edit !== null && notice.at < known.at))) continue;
    last.set(key, notice);
  }
  return [...last.values()];
}

/** Merged into the user's metadata under the channel, in the order of the notices. */
const updateContacts = (notices: readonly ContactNotice[]): SQL => sql`
  update users u
  set metadata_json = u.metadata_json || jsonb_build_object(c.channel, coalesce(u.metadata_json -> c.channel, '{}') || c.about),
    updated_at = now()
  from jsonb_to_recordset(${storable(mergeContacts(notices))}) as c(user_id uuid, brand_id uuid, channel text, about jsonb)
  where u.id = c.user_id and u.brand_id = c.brand_id`;

/** One row per user, for the same reason. */
function mergeContacts(notices: readonly ContactNotice[]) {
  const merged = new Map<string, { user_id: string; brand_id: string; channel: string; about: object }>();
  for (const { brandId, userId, channel, about } of notices) {
    const key = JSON.stringify([brandId, userId, channel]);
    const before = merged.get(key)?.about ?? {};
    merged.set(key, { user_id: userId, brand_id: brandId, channel, about: { ...before, ...about } });
  }
  return [...merged.values()];
}

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
