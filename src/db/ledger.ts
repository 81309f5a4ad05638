import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import { byteLength } from "../domain/json.ts";
import type { KeyedEntry } from "../domain/ledger.ts";
import type { Session } from "../domain/session.ts";
import { transaction } from "./client.ts";
import type { Db } from "./client.ts";
import { insertMessages, insertTurns, messageRows, takenByOthers, turnRows } from "./ledger-turns.ts";
import { MAX_OPEN_SESSIONS } from "./sessions.ts";
import { ids, iso, rows } from "./sql.ts";

/**
 * Writes entries of any number of conversations in one transaction, in a fixed number of statements. A turn's rows are
 * inserted only if it won its lock, so an entry may be written twice; entries of an erased session are skipped. Returns the
 * ids of the entries that lost: to another turn, or to a message of another session with the same id.
 */
export async function writeEntries(db: Db, entries: readonly KeyedEntry[]): Promise<string[]> {
  const turns = insertTurns(entries.filter(({ turn }) => turn !== null));
  const recorded = entries.filter(({ turn }) => turn === null);
  const taken = recorded.length === 0 ? [] : [takenByOthers(recorded)];
  const [, , erased, , , , ...outcomes] = await transaction(db, [
    lockSessions(entries),
    upsertSessions(newestOf(entries)),
    removeErased(entries),
    closeSessions(entries),
    insertMessages(recorded.flatMap(messageRows), sql`true`),
    closeExcessSessions([...new Set(entries.map(({ session }) => session.userId))]),
    ...taken,
    ...turns,
  ]);
  const erasedIds = new Set(erased.map(({ session_id }) => session_id));
  const takenIds = idsIn(outcomes.slice(0, taken.length));
  const wonIds = idsIn(outcomes.slice(taken.length));
  const hasLost = ({ id, turn }: KeyedEntry) => (turn === null ? takenIds.has(id) : !wonIds.has(turn.id));
  return entries.filter((entry) => hasLost(entry) && !erasedIds.has(entry.session.id)).map(({ id }) => id);
}

/**
 * The bytes an entry adds to the request of `writeEntries`, at most: its rows as JSON inside the JSON of the request, which
 * may be a multiple of the entry's own size.
 */
export const bytesToWrite = (entry: KeyedEntry): number =>
  byteLength(JSON.stringify(JSON.stringify([sessionRow(entry), entry.closed, turnRows(entry)]))) + IDS_BYTES;

/** The ids of session, user and closed session, which other statements repeat. */
const IDS_BYTES = 500;

const idsIn = (results: readonly { id: string }[][]) => new Set(results.flat().map(({ id }) => id));

/** The last state of each session in the batch: entries of a conversation are in order. */
const newestOf = (entries: readonly KeyedEntry[]): { session: Session; address: string }[] => [
  ...new Map(entries.map(({ session, address }) => [session.id, { session, address }])).values(),
];

/** Locks every session that will change, in one order: two consumers with the same conversations wait for each other instead of deadlocking. */
const lockSessions = (entries: readonly KeyedEntry[]): SQL => sql`
  select id from sessions
  where id in (${ids(entries.flatMap(({ session, closed }) => (closed === null ? [session.id] : [session.id, closed.sessionId])))})
  order by id for no key update`;

const sessionRow = ({ session, address }: Pick<KeyedEntry, "session" | "address">) => ({
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
});

const upsertSessions = (sessions: { session: Session; address: string }[]): SQL => sql`
  insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at,
    last_assistant_message_at, token_plan_json, metadata_json)
  select id, brand_id, instance_id, user_id, channel, address, started_at, last_message_at, last_assistant_message_at, token_plan,
    metadata
  from jsonb_to_recordset(${rows(sessions.map(sessionRow))}) as s(id uuid, brand_id uuid, instance_id uuid, user_id uuid, channel text, address text, started_at timestamptz,
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
 * Deletes the session rows that the previous statement inserted again after an erasure. `eraseSession` waits for
 * transactions that write the session, so its tombstone can't appear before this transaction ends.
 */
const removeErased = (entries: readonly KeyedEntry[]) => sql<{ session_id: string }>`
  with erased as (
    select e.session_id from erased_sessions e
    join jsonb_to_recordset(${rows(
      entries.map(({ session }) => ({ session_id: session.id, brand_id: session.brandId })),
    )}) as s(session_id uuid, brand_id uuid) using (session_id, brand_id)
  ), removed as (delete from sessions using erased where sessions.id = erased.session_id)
  select session_id from erased`;

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
 * Closes a user's oldest open sessions beyond `MAX_OPEN_SESSIONS`, except rows another transaction is writing. They end
 * with their last message, so that a later one opens them again, whatever the clocks say.
 */
const closeExcessSessions = (userIds: readonly string[]): SQL => sql`
  update sessions set expired_at = last_message_at, updated_at = now()
  where id in (
    select s.id from sessions s join (
      select id, row_number() over (partition by user_id order by last_message_at desc, id desc) as place
      from sessions where expired_at is null and user_id in (${ids(userIds)})
    ) open using (id)
    where open.place > ${MAX_OPEN_SESSIONS}
    for no key update of s skip locked
  )`;
