import { and, eq, sql } from "drizzle-orm";
import type { HistoryMessage, QuotedMessage } from "../domain/history.ts";
import type { Cursor } from "../domain/page.ts";
import { build } from "./client.ts";
import { instanceIs } from "./instances.ts";
import type { InstanceKey } from "./instances.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { instanceConfigs, instances } from "./schema/brands.ts";
import { messages, sessions } from "./schema/conversations.ts";
import { activeConfig, isNoneOf, isOwner, isSession, sessionColumns } from "./sessions.ts";
import type { Scope, StoredSession } from "./sessions.ts";
import { ids, iso } from "./sql.ts";

export type MessageWindow = {
  /** Only older messages. */
  before: Cursor | null;
  offset: number;
  limit: number;
  /** Ids of messages the caller already has from the object. */
  except: readonly string[];
};

const messageColumns = {
  id: messages.id,
  role: messages.role,
  content: messages.content,
  createdAt: messages.createdAt,
  seq: messages.seq,
  metadata: messages.metadataJson,
};

/**
 * Messages of a brand's session, newest first, and the session itself; null when the brand has no such session. Messages
 * are read only if the session is the user's, when the scope names one. One walk along the index `messages_page`.
 */
export function messagesPage(
  scope: Scope,
  sessionId: string,
  { before, offset, limit, except }: MessageWindow,
): Query<{ session: StoredSession; messages: HistoryMessage[] } | null> {
  const isOlder =
    before === null
      ? undefined
      : sql`(${messages.createdAt}, ${messages.seq}) < (${iso(before.at)}::timestamptz, ${before.tie}::bigint)`;
  const page = build
    .select(messageColumns)
    .from(messages)
    .where(and(eq(messages.sessionId, sessions.id), isOwner(scope), isOlder, isNoneOf(messages.id, except)))
    .orderBy(sql`${messages.createdAt} desc nulls last, ${messages.seq} desc nulls last`)
    .limit(limit)
    .offset(offset)
    .as("page");
  const { id, role, content, createdAt, seq, metadata } = page;
  return query(
    build
      .select({ session: sessionColumns, message: { id, role, content, createdAt, seq, metadata } })
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .leftJoinLateral(page, sql`true`)
      .where(isSession(sessionId, scope)),
    (rows) => {
      const [first] = rows;
      if (first === undefined) return null;
      return { session: first.session, messages: rows.flatMap(({ message }) => message ?? []) };
    },
  );
}

/** One message of a brand's session, and the session itself; null when the brand has no such session. */
export const messageById = (
  scope: Scope,
  sessionId: string,
  messageId: string,
): Query<{ session: StoredSession; message: HistoryMessage | null } | null> =>
  query(
    build
      .select({ session: sessionColumns, message: messageColumns })
      .from(sessions)
      .leftJoin(instanceConfigs, activeConfig)
      .leftJoin(messages, and(eq(messages.id, messageId), eq(messages.sessionId, sessions.id), isOwner(scope)))
      .where(isSession(sessionId, scope)),
    ([row]) => row ?? null,
  );

/** Which of these messages have a row, for any number of conversations. */
export const existingMessages = (messageIds: readonly string[]): Query<Set<string>> =>
  query(
    build
      .select({ id: messages.id })
      .from(messages)
      .where(sql`${messages.id} in (${ids(messageIds)})`),
    (rows) => new Set(rows.map(({ id }) => id)),
  );

/** A user's message by the channel's id or by its own; null when the user has none. */
export const quotedMessage = (
  { brandId, userId }: { brandId: string; userId: string },
  { channelMessageId, messageId }: { channelMessageId: string; messageId: string | null },
): Query<QuotedMessage | null> =>
  query(
    build
      .select({ id: messages.id, role: messages.role, content: messages.content })
      .from(messages)
      .innerJoin(sessions, eq(sessions.id, messages.sessionId))
      .where(
        and(
          eq(sessions.brandId, brandId),
          eq(sessions.userId, userId),
          messageId === null ? eq(messages.channelMessageId, channelMessageId) : eq(messages.id, messageId),
        ),
      )
      .limit(1),
    ([row]) => row ?? null,
  );

/** The address of the conversation with this message of the instance, by its id or the channel's id of its first part. */
export const addressOfSent = (
  key: InstanceKey,
  { messageId, channelMessageId }: { messageId: string | null; channelMessageId: string },
): Query<string | null> =>
  query(
    build
      .select({ address: sessions.address })
      .from(instances)
      .innerJoin(
        messages,
        and(
          eq(messages.instanceId, instances.id),
          messageId === null
            ? eq(messages.channelMessageId, channelMessageId)
            : sql`(${messages.id} = ${messageId}::uuid or ${messages.channelMessageId} = ${channelMessageId})`,
        ),
      )
      .innerJoin(sessions, eq(sessions.id, messages.sessionId))
      .where(instanceIs(key))
      .limit(1),
    ([row]) => row?.address ?? null,
  );

/** Whether the instance has a message with this id of its channel, of whatever age. */
export const isChannelMessageKnown = (key: InstanceKey, channelMessageId: string): Query<boolean> =>
  query(
    build
      .select({ id: messages.id })
      .from(messages)
      .innerJoin(instances, eq(instances.id, messages.instanceId))
      .where(and(eq(messages.channelMessageId, channelMessageId), instanceIs(key)))
      .limit(1),
    (rows) => rows.length > 0,
  );
