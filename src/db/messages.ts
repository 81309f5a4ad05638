import { sql } from "drizzle-orm";
import type { HistoryMessage } from "../domain/history.ts";
import type { Cursor } from "../domain/page.ts";
import type { Role } from "../domain/role.ts";
import type { Row } from "./client.ts";
import { instanceIs } from "./instances.ts";
import type { InstanceKey } from "./instances.ts";
import type { Query } from "./reader.ts";
import { sessionColumns, toStoredSession } from "./sessions.ts";
import type { Scope, StoredSession } from "./sessions.ts";
import { ids, iso } from "./sql.ts";

export type MessageWindow = {
  /** Only what is older. */
  before: Cursor | null;
  offset: number;
  limit: number;
  /** Left out: what the asker has from elsewhere. */
  except: readonly string[];
};

/**
 * Messages of a brand's session, newest first, and the session itself; null when the brand has no such session. The
 * messages are there only if the session is the person's, when it is a person who asks. One walk along `messages_page`.
 */
export const messagesPage = (
  { brandId, userId }: Scope,
  sessionId: string,
  { before, offset, limit, except }: MessageWindow,
): Query<{ session: StoredSession; messages: HistoryMessage[] } | null> => ({
  statement: sql`
    select ${sessionColumns}, m.*
    from sessions s
    left join lateral (
      select ${messageColumns} from messages m
      where m.session_id = s.id and (${userId}::uuid is null or s.user_id = ${userId}::uuid)
        ${before === null ? sql`` : sql`and (m.created_at, m.seq) < (${iso(before.at)}::timestamptz, ${before.tie}::bigint)`}
        ${except.length === 0 ? sql`` : sql`and m.id not in (${ids(except)})`}
      order by m.created_at desc nulls last, m.seq desc nulls last
      limit ${limit} offset ${offset}
    ) m on true
    where s.id = ${sessionId} and s.brand_id = ${brandId}`,
  read: (rows) => {
    const [first] = rows;
    if (first === undefined) return null;
    return { session: toStoredSession(first), messages: rows.filter(({ id }) => id !== null).map(toStoredMessage) };
  },
});

const messageColumns = sql`m.id, m.role, m.content, m.seq::float8 as seq, m.metadata_json,
  (extract(epoch from m.created_at) * 1000)::float8 as created_at`;

const toStoredMessage = (row: Row): HistoryMessage => ({
  id: row.id as string,
  role: row.role as Role,
  content: row.content as string,
  createdAt: row.created_at as number,
  seq: row.seq as number,
  metadata: row.metadata_json as Record<string, unknown>,
});

/** One message of a brand's session, and the session itself; null when the brand has no such session. */
export const messageById = (
  { brandId, userId }: Scope,
  sessionId: string,
  messageId: string,
): Query<{ session: StoredSession; message: HistoryMessage | null } | null> => ({
  statement: sql`
    select ${sessionColumns}, m.*
    from sessions s
    left join lateral (
      select ${messageColumns} from messages m
      where m.id = ${messageId} and m.session_id = s.id and (${userId}::uuid is null or s.user_id = ${userId}::uuid)
    ) m on true
    where s.id = ${sessionId} and s.brand_id = ${brandId}`,
  read: ([row]) =>
    row ? { session: toStoredSession(row), message: row.id === null ? null : toStoredMessage(row) } : null,
});

/** Whether the instance has a message with this id of its channel: also one of years ago. */
export const isChannelMessageKnown = (key: InstanceKey, channelMessageId: string): Query<boolean> => ({
  statement: sql`
    select 1 from messages m join instances i on i.id = m.instance_id
    where m.channel_message_id = ${channelMessageId} and ${instanceIs(key)} limit 1`,
  read: (rows) => rows.length > 0,
});
