import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Addresses } from "../domain/address.ts";
import { CLAIM_MS, MAX_ATTEMPTS } from "../domain/broadcast.ts";
import type { Broadcast, Recipient, Verdict } from "../domain/broadcast.ts";
import type { Channel } from "../domain/channel.ts";
import type { ChannelIdentity } from "../domain/inbound-message.ts";
import type { WhatsAppTemplate } from "../domain/instance.ts";
import type { StoredIdentifierType } from "../domain/user.ts";
import type { Db } from "./client.ts";
import { openAt, openSessions } from "./sessions.ts";
import type { OpenSession } from "./sessions.ts";
import { write } from "./write.ts";

/** The next claimed recipients. `dueInMs`: when the next recipient is due, milliseconds from now; null when all are done. */
export type Round = { broadcast: Broadcast; recipients: Recipient[]; dueInMs: number | null };

/**
 * Applies the verdicts of the previous round and claims the next recipients, in one round trip. Concurrent callers claim
 * different recipients. Null when the broadcast does not exist.
 */
export async function nextRound(
  { db, addresses }: { db: Db; addresses: Addresses },
  broadcastId: string,
  verdicts: readonly Verdict[],
  size: number,
): Promise<Round | null> {
  const [[found], , , claimed, [rest]] = await write(db, [
    locked(broadcastId),
    applyVerdicts(broadcastId, verdicts),
    failInterrupted(broadcastId),
    claim(broadcastId, size),
    next(broadcastId),
  ]);
  if (found === undefined) return null;
  return {
    broadcast: toBroadcast(found),
    recipients: claimed.map((row) => toRecipient(row, addresses)),
    dueInMs: rest === undefined ? null : rest.due_in,
  };
}

/**
 * Locks the broadcast until the transaction ends: it can't be cancelled meanwhile, and the recipients that the following
 * statements see don't change. Rounds of one broadcast are serialised, so that a cancellation gets its turn too.
 */
const locked = (broadcastId: string) => sql<FoundRow>`
  select b.id, b.brand_id, b.instance_id, i.channel, i.is_active, i.recipient_number, i.phone_number_id,
    i.metadata_json -> 'whatsapp_template' as template, c.session_timeout_minutes, b.content, b.metadata_json, b.trace_id
  from broadcasts b
  join instances i on i.id = b.instance_id
  left join instance_configs c on c.instance_id = i.id and c.is_active
  where b.id = ${broadcastId}
  for no key update of b`;

/**
 * `sent` always applies, even from an expired claim; `failed` and `pending` apply only while the row is claimed. In a
 * cancelled broadcast `pending` becomes `failed`: there is no other attempt.
 */
const applyVerdicts = (broadcastId: string, verdicts: readonly Verdict[]): SQL => sql`
  update broadcast_recipients r
  set state = case when v.state = 'pending' and b.cancelled_at is not null then 'failed' else v.state end,
    due_at = now() + v.pause_ms * interval '1 millisecond',
    error_code = v.error_code, error_message = v.error_message, updated_at = now()
  from broadcasts b, jsonb_to_recordset(${JSON.stringify(
    verdicts.map(({ recipientId, state, pauseMs, error }) => ({
      id: recipientId,
      state,
      pause_ms: pauseMs,
      error_code: error?.code,
      error_message: error?.message,
    })),
  )}::jsonb) as v(id uuid, state text, pause_ms int, error_code text, error_message text)
  where b.id = ${broadcastId} and r.broadcast_id = b.id and r.id = v.id
    and (r.state = 'claimed' or (v.state = 'sent' and r.state <> 'sent'))`;

/**
 * Ends expired claims that are not attempted again, because the broadcast is cancelled or the attempt was the last one.
 * The recipient was reached if the ledger has its message.
 */
const failInterrupted = (broadcastId: string): SQL => sql`
  update broadcast_recipients r
  set state = case when m.id is null then 'failed' else 'sent' end,
    error_code = case when m.id is null then 'SERVICE_UNAVAILABLE' end,
    error_message = case when m.id is null then 'Interrupted while the message was being sent' end,
    updated_at = now()
  from broadcasts b, broadcast_recipients c left join messages m on m.id = c.message_id
  where b.id = ${broadcastId} and (b.cancelled_at is not null or r.attempts >= ${MAX_ATTEMPTS})
    and r.broadcast_id = b.id and r.state = 'claimed' and r.due_at <= now() and c.id = r.id`;

/** Claims pending recipients that are due and expired claims. A claim counts as an attempt, so that a recipient that crashes the consumer fails in the end. */
const claim = (broadcastId: string, size: number) => sql<ClaimedRow>`
  with picked as (
    select r.id from broadcast_recipients r join broadcasts b on b.id = r.broadcast_id
    where b.id = ${broadcastId} and b.cancelled_at is null and r.state in ('pending', 'claimed') and r.due_at <= now()
    order by r.due_at, r.id limit ${size}
  ), claimed as (
    update broadcast_recipients r
    set state = 'claimed', attempts = r.attempts + 1, due_at = now() + ${CLAIM_MS} * interval '1 millisecond', updated_at = now()
    from picked where r.id = picked.id
    returning r.*
  )
  select r.id as recipient_id, r.user_id, r.message_id, r.attempts, instances.channel, instances.id as instance_id,
    coalesce(users.metadata_json #>> array[instances.channel, 'marketing', 'value'] = 'stop', false) as is_opted_out,
    ${openSessions} as open_sessions, ${identifier("phone_e164")} as phone, ${identifier("whatsapp_user_id")} as whatsapp_user_id
  from claimed r
  join broadcasts b on b.id = r.broadcast_id
  join instances on instances.id = b.instance_id
  join users on users.id = r.user_id`;

/** The user's newest identifier of a type on the instance's channel. */
const identifier = (type: StoredIdentifierType): SQL => sql`(
  select ui.identifier_value from user_identifiers ui
  where ui.user_id = users.id and ui.brand_id = instances.brand_id and ui.channel = instances.channel
    and ui.identifier_type = ${type}
  order by ui.created_at desc, ui.id limit 1)`;

const next = (broadcastId: string) => sql<{ due_in: number }>`
  select greatest(0, extract(epoch from min(r.due_at) - now()) * 1000)::float8 as due_in
  from broadcast_recipients r where r.broadcast_id = ${broadcastId} and r.state in ('pending', 'claimed')
  having count(*) > 0`;

type FoundRow = {
  id: string;
  brand_id: string;
  instance_id: string;
  channel: Channel;
  is_active: boolean;
  recipient_number: string | null;
  phone_number_id: string | null;
  template: WhatsAppTemplate | null;
  session_timeout_minutes: number | null;
  content: string;
  metadata_json: Record<string, unknown>;
  trace_id: string | null;
};

const toBroadcast = (row: FoundRow): Broadcast => ({
  id: row.id,
  brandId: row.brand_id,
  instanceId: row.instance_id,
  channel: row.channel,
  isActive: row.is_active,
  sessionTimeoutMinutes: row.session_timeout_minutes,
  business: { number: row.recipient_number, phoneNumberId: row.phone_number_id, template: row.template },
  content: row.content,
  metadata: row.metadata_json,
  traceId: row.trace_id,
});

type ClaimedRow = {
  recipient_id: string;
  user_id: string;
  message_id: string;
  attempts: number;
  channel: Channel;
  instance_id: string;
  is_opted_out: boolean;
  open_sessions: OpenSession[];
  phone: string | null;
  whatsapp_user_id: string | null;
};

const toRecipient = (row: ClaimedRow, addresses: Addresses): Recipient => ({
  id: row.recipient_id,
  userId: row.user_id,
  messageId: row.message_id,
  attempts: row.attempts,
  isOptedOut: row.is_opted_out,
  person: toPerson(row),
  openSession: openAt(addresses.chat(row.instance_id, row.user_id), row.open_sessions),
});

const toPerson = ({ phone, whatsapp_user_id: userId }: ClaimedRow): ChannelIdentity | null =>
  phone === null && userId === null ? null : { phone, userId };
