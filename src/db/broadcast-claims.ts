import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { CLAIM_MS, MAX_ATTEMPTS } from "../domain/broadcast.ts";
import type { Broadcast, Recipient, Verdict } from "../domain/broadcast.ts";
import type { ChannelIdentity } from "../domain/inbound-message.ts";
import type { WhatsAppTemplate } from "../domain/instance.ts";
import type { StoredIdentifierType } from "../domain/user.ts";
import type { Db, Row } from "./client.ts";
import { openSession, toSession } from "./users.ts";
import { write } from "./write.ts";

/** The next claimed recipients. `dueInMs`: when the next recipient is due, milliseconds from now; null when all are done. */
export type Round = { broadcast: Broadcast; recipients: Recipient[]; dueInMs: number | null };

/**
 * Applies the verdicts of the previous round and claims the next recipients, in one round trip. Concurrent callers claim
 * different recipients. Null when the broadcast does not exist.
 */
export async function nextRound(
  db: Db,
  broadcastId: string,
  verdicts: readonly Verdict[],
  size: number,
): Promise<Round | null> {
  const [[found] = [], , , claimed = [], [rest] = []] = await write(db, [
    locked(broadcastId),
    applyVerdicts(broadcastId, verdicts),
    failInterrupted(broadcastId),
    claim(broadcastId, size),
    next(broadcastId),
  ]);
  if (found === undefined) return null;
  return {
    broadcast: toBroadcast(found),
    recipients: claimed.map(toRecipient),
    dueInMs: rest === undefined ? null : (rest.due_in as number),
  };
}

/**
 * Locks the broadcast until the transaction ends: it can't be cancelled meanwhile, and the recipients that the following
 * statements see don't change. Rounds of one broadcast are serialised, so that a cancellation gets its turn too.
 */
const locked = (broadcastId: string): SQL => sql`
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
const claim = (broadcastId: string, size: number): SQL => sql`
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
  select r.id as recipient_id, r.user_id, r.message_id, r.attempts, i.channel, i.id as instance_id, i.brand_id, s.*,
    ${identifier("phone_e164")} as phone, ${identifier("whatsapp_user_id")} as whatsapp_user_id
  from claimed r
  join broadcasts b on b.id = r.broadcast_id
  join instances i on i.id = b.instance_id
  join users u on u.id = r.user_id
  ${openSession}`;

/** The user's newest identifier of a type on the instance's channel. */
const identifier = (type: StoredIdentifierType): SQL => sql`(
  select ui.identifier_value from user_identifiers ui
  where ui.user_id = u.id and ui.brand_id = i.brand_id and ui.channel = i.channel and ui.identifier_type = ${type}
  order by ui.created_at desc, ui.id limit 1)`;

const next = (broadcastId: string): SQL => sql`
  select greatest(0, extract(epoch from min(r.due_at) - now()) * 1000)::float8 as due_in
  from broadcast_recipients r where r.broadcast_id = ${broadcastId} and r.state in ('pending', 'claimed')
  having count(*) > 0`;

const toBroadcast = (row: Row): Broadcast => ({
  id: row.id as string,
  brandId: row.brand_id as string,
  instanceId: row.instance_id as string,
  channel: row.channel as Broadcast["channel"],
  isActive: row.is_active as boolean,
  sessionTimeoutMinutes: row.session_timeout_minutes as number | null,
  business:
    row.channel === "whatsapp"
      ? {
          number: row.recipient_number as string | null,
          phoneNumberId: row.phone_number_id as string | null,
          template: row.template as WhatsAppTemplate | null,
        }
      : null,
  content: row.content as string,
  metadata: row.metadata_json as Record<string, unknown>,
  traceId: row.trace_id as string | null,
});

const toRecipient = (row: Row): Recipient => ({
  id: row.recipient_id as string,
  userId: row.user_id as string,
  messageId: row.message_id as string,
  attempts: row.attempts as number,
  ...(row.channel === "whatsapp"
    ? { person: toPerson(row), openSession: null }
    : { person: null, openSession: row.session_id === null ? null : toSession(row) }),
});

const toPerson = ({ phone, whatsapp_user_id: userId }: Row): ChannelIdentity | null =>
  phone === null && userId === null ? null : { phone: phone as string | null, userId: userId as string | null };
