import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { cacheable } from "../domain/idempotency.ts";
import type { KeyedEntry } from "../domain/ledger.ts";
import type { Session } from "../domain/session.ts";
import { transaction } from "./client.ts";
import type { Db } from "./client.ts";
import type { Message } from "../domain/message.ts";

/** A user's open sessions beyond this are closed, oldest first. */
const MAX_OPEN_SESSIONS = 10;

/**
 * Writes entries of any number of conversations in one transaction: a handful of statements, however many entries. Rows of
 * a turn count only if its lock was won, so an entry may come twice; entries of an erased session are passed over. Gives
 * the ids of the entries that lost: to another turn, or to a message of another session that has their message's id.
 */
export async function writeEntries(db: Db, entries: readonly KeyedEntry[]): Promise<string[]> {
  const turns = rounds(
    entries.filter(({ turn }) => turn !== null),
    ({ turn }) => turn?.key,
  );
  const loose = entries.filter(({ turn }) => turn === null);
  const before = [
    lockSessions(entries),
    upsertSessions(newestOf(entries)),
    removeErased(entries),
    closeSessions(entries),
  ];
  const after = [
    insertMessages(loose.flatMap(messageRows), sql`true`),
    closeExcessSessions([...new Set(entries.map(({ session }) => session.userId))]),
    ...(loose.length === 0 ? [] : [messagesOfOthers(loose)]),
  ];
  const results = await transaction(db, [...before, ...turns.map(insertTurns), ...after]);
  const idsIn = (from: number, to: number | undefined, column: string) =>
    new Set(results.slice(from, to).flatMap((rows) => rows.map((row) => row[column] as string)));
  const won = idsIn(before.length, before.length + turns.length, "turn_id");
  const taken = idsIn(before.length + turns.length + 2, undefined, "entry_id");
  const erased = idsIn(2, 3, "session_id");
  const hasLost = ({ id, turn }: KeyedEntry) => (turn === null ? taken.has(id) : !won.has(turn.id));
  return entries.filter((entry) => hasLost(entry) && !erased.has(entry.session.id)).map(({ id }) => id);
}

const rows = (values: readonly unknown[]): SQL => sql`${JSON.stringify(values)}::jsonb`;
const iso = (ms: number): string => new Date(ms).toISOString();

/** A statement can't touch a row twice; a key that comes twice goes into the next statement. */
function rounds<T>(items: readonly T[], keyOf: (item: T) => string | undefined): T[][] {
  const seen = new Map<string | undefined, number>();
  const result: T[][] = [];
  for (const item of items) {
    const round = seen.get(keyOf(item)) ?? 0;
    seen.set(keyOf(item), round + 1);
    (result[round] ??= []).push(item);
  }
  return result;
}

/** A session's last state in a batch is the one that counts: entries of a conversation come in order. */
const newestOf = (entries: readonly KeyedEntry[]): { session: Session; address: string }[] => [
  ...new Map(entries.map(({ session, address }) => [session.id, { session, address }])).values(),
];

/** All that will be changed, in one order: two consumers that were handed the same conversations wait, and never deadlock. */
const lockSessions = (entries: readonly KeyedEntry[]): SQL => sql`
  select id from sessions
  where id in (select value::uuid from jsonb_array_elements_text(${rows(
    entries.flatMap(({ session, closed }) => (closed === null ? [session.id] : [session.id, closed.sessionId])),
  )}))
  order by id for no key update`;

const upsertSessions = (sessions: { session: Session; address: string }[]): SQL => sql`
  insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at,
    last_assistant_message_at, token_plan_json, metadata_json)
  select id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at, last_assistant_message_at, token_plan,
    metadata
  from jsonb_to_recordset(${rows(
    sessions.map(({ session, address }) => ({
      id: session.id,
      brand_id: session.brandId,
      instance_id: session.instanceId,
      user_id: session.userId,
      channel: session.channel,
      address,
      started_at: iso(session.startedAt),
      last_message_at: iso(session.lastMessageAt),
      last_assistant_message_at: session.lastAssistantMessageAt === null ? null : iso(session.lastAssistantMessageAt),
      token_plan: session.tokenPlan,
      metadata: session.metadata ?? {},
    })),
  )}) as s(id uuid, brand_id uuid, instance_id uuid, user_id uuid, channel text, address text, started_at timestamptz,
    last_message_at timestamptz, last_assistant_message_at timestamptz, token_plan jsonb,
    metadata jsonb)
  order by id
  on conflict (id) do update set
    last_message_at = greatest(sessions.last_message_at, excluded.last_message_at),
    last_assistant_message_at = greatest(sessions.last_assistant_message_at, excluded.last_assistant_message_at),
    token_plan_json = coalesce(excluded.token_plan_json, sessions.token_plan_json),
    metadata_json = sessions.metadata_json || excluded.metadata_json,
    expired_at = case when excluded.last_message_at > sessions.expired_at then null else sessions.expired_at end,
    updated_at = now()
  where sessions.brand_id = excluded.brand_id`;

/**
 * Takes back what the statement before has made anew of a session that was erased while its entries were on their way.
 * Erasing waits for whoever writes the session (`eraseSession`), so whether it was erased can't change until we are done.
 */
const removeErased = (entries: readonly KeyedEntry[]): SQL => sql`
  with erased as (
    select e.session_id from erased_sessions e
    join jsonb_to_recordset(${rows(
      entries.map(({ session }) => ({ session_id: session.id, brand_id: session.brandId })),
    )}) as s(session_id uuid, brand_id uuid) using (session_id, brand_id)
  ), removed as (delete from sessions using erased where sessions.id = erased.session_id)
  select session_id from erased`;

const isNotErased = (of: SQL): SQL => sql`not exists (
  select from erased_sessions e where e.session_id = ${of}.session_id and e.brand_id = ${of}.brand_id)`;

const closeSessions = (entries: readonly KeyedEntry[]): SQL => sql`
  update sessions set expired_at = c.expired_at, updated_at = now()
  from jsonb_to_recordset(${rows(
    entries.flatMap(({ session, closed }) =>
      closed === null
        ? []
        : [{ session_id: closed.sessionId, brand_id: session.brandId, expired_at: iso(closed.expiredAt) }],
    ),
  )}) as c(session_id uuid, brand_id uuid, expired_at timestamptz)
  where sessions.id = c.session_id and sessions.brand_id = c.brand_id and sessions.expired_at is null
    and sessions.last_message_at <= c.expired_at`;

/**
 * Locks first: a turn's messages and usage are inserted only if its row was won. Won again by the same turn means that
 * the entry was written before, and every row of it is there: the answer that is kept stays the one they are part of.
 * A reply goes where its words went: of two turns about one message of a channel the second leaves neither.
 */
const insertTurns = (entries: readonly KeyedEntry[]): SQL => {
  const words = entries.flatMap(messageRows);
  const isSaid = ({ role }: (typeof words)[number]) => role === "user";
  return sql`
  with won as (
    insert into idempotency_locks (request_id, brand_id, session_id, turn_id, fence, locked_at, expires_at, metadata_json)
    select key, brand_id, session_id, turn_id, fence, locked_at, expires_at, metadata
    from jsonb_to_recordset(${rows(
      entries.map(({ turn, session, messages }) => ({
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
      })),
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
  ), said as (${insertMessages(words.filter(isSaid), sql`m.turn_id in (select turn_id from won)`)}
    returning turn_id
  ), answered as (${insertMessages(
    words.filter((row) => !isSaid(row)),
    sql`m.turn_id in (select turn_id from said)`,
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
  select turn_id from won`;
};

/** Not by another turn: a channel may bring a message again after its conversation has forgotten it. */
const isNotAnswered = (turn: SQL): SQL => sql`not (${turn}.channel_message_id is not null and exists (
  select from messages m where m.instance_id = ${turn}.instance_id and m.channel_message_id = ${turn}.channel_message_id
    and m.turn_id is distinct from ${turn}.turn_id))`;

const insertMessages = (messages: ReturnType<typeof messageRows>, condition: SQL): SQL => sql`
  insert into messages (id, brand_id, session_id, instance_id, user_id, turn_id, role, content, seq, request_id, trace_id,
    channel_message_id, processed, metadata_json, created_at)
  select id, brand_id, session_id, instance_id, user_id, turn_id, role, content, seq, request_id, trace_id,
    channel_message_id, turn_id is not null, metadata, created_at
  from jsonb_to_recordset(${rows(messages)}) as m(id uuid, brand_id uuid, session_id uuid, instance_id uuid, user_id uuid,
    turn_id uuid, role text, content text, seq bigint, request_id text, trace_id text, channel_message_id text,
    metadata jsonb, created_at timestamptz)
  where ${condition} and ${isNotErased(sql`m`)}
  on conflict do nothing`;

/** Messages named by their clients, with an id that a message of another session has: that one stays, and these are told. */
const messagesOfOthers = (entries: readonly KeyedEntry[]): SQL => sql`
  select r.entry_id from messages m
  join jsonb_to_recordset(${rows(
    entries.flatMap(({ id, session, messages }) =>
      messages.map((message) => ({ entry_id: id, id: message.id, session_id: session.id })),
    ),
  )}) as r(entry_id uuid, id uuid, session_id uuid) on m.id = r.id and m.session_id <> r.session_id`;

const messageRows = ({ session, turn, messages }: KeyedEntry) =>
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

/**
 * Of what somebody has open the newest stay; one that is being written to at this moment is none of the oldest any more.
 * They ended with their last message: a later one opens them again, whatever our clock says.
 */
const closeExcessSessions = (userIds: readonly string[]): SQL => sql`
  update sessions set expired_at = last_message_at, updated_at = now()
  where id in (
    select s.id from sessions s join (
      select id, row_number() over (partition by user_id order by last_message_at desc, id desc) as place
      from sessions where expired_at is null and user_id in (select value::uuid from jsonb_array_elements_text(${rows(userIds)}))
    ) open using (id)
    where open.place > ${MAX_OPEN_SESSIONS}
    for no key update of s skip locked
  )`;
