import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { cacheable } from "../domain/idempotency.ts";
import type { KeyedEntry } from "../domain/ledger.ts";
import type { Message } from "../domain/message.ts";
import { iso, rows } from "./sql.ts";

/**
 * The statements that insert the entries of turns; each returns the turns that won. A statement can't change a row twice, so an idempotency key that occurs
 * twice in a batch goes into the next statement.
 */
export function insertTurns(entries: readonly KeyedEntry[]): SQL<{ id: string }>[] {
  const seen = new Map<string | undefined, number>();
  const rounds: KeyedEntry[][] = [];
  for (const entry of entries) {
    const round = seen.get(entry.turn?.key) ?? 0;
    seen.set(entry.turn?.key, round + 1);
    (rounds[round] ??= []).push(entry);
  }
  return rounds.map(insertRound);
}

/**
 * Inserts locks first: a turn's messages and usage are inserted only if it won its lock. A turn that wins its lock again was
 * written before with all of its rows, and its stored answer stays. A reply is inserted only if its user message was: of
 * two turns about one message of a channel, the second inserts neither.
 */
const insertRound = (entries: readonly KeyedEntry[]): SQL<{ id: string }> => {
  const messages = entries.flatMap(messageRows);
  const isInbound = ({ role }: (typeof messages)[number]) => role === "user";
  return sql<{ id: string }>`
  with won as (
    insert into idempotency_locks (request_id, brand_id, session_id, turn_id, fence, locked_at, expires_at, metadata_json)
    select key, brand_id, session_id, turn_id, fence, locked_at, expires_at, metadata
    from jsonb_to_recordset(${rows(
      entries.map(lockRow),
    )}) as l(key text, brand_id uuid, session_id uuid, turn_id uuid, fence int, locked_at timestamptz,
      expires_at timestamptz, channel_message_id text, instance_id uuid, metadata jsonb)
    where ${isNotErased(sql`l`)} and ${isNotAnswered(sql`l`)}
    order by key
    on conflict (request_id) do update set
      session_id = excluded.session_id, turn_id = excluded.turn_id, fence = excluded.fence, locked_at = excluded.locked_at,
      expires_at = excluded.expires_at, updated_at = now(), metadata_json = case
        when idempotency_locks.turn_id = excluded.turn_id then idempotency_locks.metadata_json
        else excluded.metadata_json end
    where idempotency_locks.turn_id = excluded.turn_id or idempotency_locks.expires_at <= excluded.locked_at
    returning turn_id
  ), inbound as (${insertMessages(messages.filter(isInbound), sql`m.turn_id in (select turn_id from won)`)}
    returning turn_id
  ), replies as (${insertMessages(
    messages.filter((row) => !isInbound(row)),
    sql`m.turn_id in (select turn_id from inbound)`,
  )}
  ), used as (
    insert into session_token_usage (id, brand_id, session_id, turn_id, template_key, function_name, planned_tokens,
      sent_tokens, received_tokens, total_tokens, llm_model_id, input_price_per_1k, output_price_per_1k, cost_usd)
    select id, brand_id, session_id, turn_id, template_key, function_name, planned_tokens, sent_tokens, received_tokens,
      total_tokens, (select m.id from llm_models m where m.id = u.llm_model_id), input_price_per_1k, output_price_per_1k, cost_usd
    from jsonb_to_recordset(${rows(entries.flatMap(usageRows))}) as u(id uuid, brand_id uuid, session_id uuid, turn_id uuid, template_key text, function_name text, planned_tokens int,
      sent_tokens int, received_tokens int, total_tokens int, llm_model_id uuid, input_price_per_1k numeric,
      output_price_per_1k numeric, cost_usd numeric)
    where u.turn_id in (select turn_id from won)
    on conflict (id) do nothing
  )
  select turn_id as id from won`;
};

const lockRow = ({ turn, session, messages }: KeyedEntry) => ({
  key: turn?.key,
  brand_id: session.brandId,
  session_id: session.id,
  turn_id: turn?.id,
  fence: turn?.fence,
  locked_at: iso(turn?.lockedAt ?? 0),
  expires_at: iso(turn?.expiresAt ?? 0),
  channel_message_id: messages.find(({ role }) => role === "user")?.channelMessageId ?? null,
  instance_id: session.instanceId,
  metadata: { cached_response: cacheable(turn?.cachedResponse) },
});

/** No other turn has the channel's message: a channel may deliver it again after its object has forgotten it. */
const isNotAnswered = (turn: SQL): SQL => sql`not (${turn}.channel_message_id is not null and exists (
  select from messages m where m.instance_id = ${turn}.instance_id and m.channel_message_id = ${turn}.channel_message_id
    and m.turn_id is distinct from ${turn}.turn_id))`;

export const insertMessages = (messages: ReturnType<typeof messageRows>, condition: SQL): SQL => sql`
  insert into messages (id, brand_id, session_id, instance_id, user_id, turn_id, role, content, seq, request_id, trace_id,
    channel_message_id, processed, metadata_json, created_at)
  select id, brand_id, session_id, instance_id, user_id, turn_id, role, content, seq, request_id, trace_id,
    channel_message_id, turn_id is not null, metadata, created_at
  from jsonb_to_recordset(${rows(messages)}) as m(id uuid, brand_id uuid, session_id uuid, instance_id uuid, user_id uuid,
    turn_id uuid, role text, content text, seq bigint, request_id text, trace_id text, channel_message_id text,
    client_id uuid, metadata jsonb, created_at timestamptz)
  where ${condition} and ${isNotErased(sql`m`)}
    and not exists (select from messages o where o.id = m.client_id and o.session_id = m.session_id)
  on conflict do nothing`;

/** The entries with a message id that a message of another session has; theirs was not inserted. */
export const takenByOthers = (entries: readonly KeyedEntry[]) => sql<{ id: string }>`
  select r.entry_id as id from messages m
  join jsonb_to_recordset(${rows(
    entries.flatMap(takenRows),
  )}) as r(entry_id uuid, id uuid, session_id uuid) on m.id = r.id and m.session_id <> r.session_id`;

const takenRows = ({ id, session, messages }: KeyedEntry) =>
  messages.map((message) => ({ entry_id: id, id: message.id, session_id: session.id }));

/** Everything the statements of this file send of an entry. */
export const turnRows = (entry: KeyedEntry) => [
  messageRows(entry),
  entry.turn === null ? takenRows(entry) : [lockRow(entry), usageRows(entry)],
];

export const messageRows = ({ session, turn, messages }: KeyedEntry) =>
  messages.map((message: Message) => ({
    id: message.id,
    brand_id: session.brandId,
    session_id: session.id,
    instance_id: session.instanceId,
    user_id: message.role === "user" ? session.userId : null,
    turn_id: turn?.id ?? null,
    role: message.role,
    content: message.content,
    seq: message.seq,
    request_id: message.requestId,
    trace_id: message.traceId,
    channel_message_id: message.channelMessageId,
    client_id: message.clientId ?? null,
    metadata: message.metadata,
    created_at: iso(message.createdAt),
  }));

const usageRows = ({ usage, session, turn }: KeyedEntry) =>
  usage === null
    ? []
    : [
        {
          id: usage.id,
          brand_id: session.brandId,
          session_id: session.id,
          turn_id: turn?.id,
          template_key: usage.templateKey,
          function_name: usage.functionName,
          planned_tokens: usage.plannedTokens,
          sent_tokens: usage.sentTokens,
          received_tokens: usage.receivedTokens,
          total_tokens: usage.totalTokens,
          llm_model_id: usage.llmModelId,
          input_price_per_1k: usage.inputPricePer1k,
          output_price_per_1k: usage.outputPricePer1k,
          cost_usd: usage.costUsd,
        },
      ];

const isNotErased = (of: SQL): SQL => sql`not exists (
  select from erased_sessions e where e.session_id = ${of}.session_id and e.brand_id = ${of}.brand_id)`;
