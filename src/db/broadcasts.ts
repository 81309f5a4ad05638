import { and, eq, isNull, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { BroadcastReply, Progress, RecipientPage } from "../domain/broadcast.ts";
import { build } from "./client.ts";
import type { Db } from "./client.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { instances } from "./schema/brands.ts";
import { broadcasts } from "./schema/broadcasts.ts";
import { users } from "./schema/people.ts";
import { ids } from "./sql.ts";
import { writeAndRead } from "./write.ts";

/** The ids that belong to users of the instance's brand. */
export const usersOfBrand = (instanceId: string, userIds: readonly string[]): Query<Set<string>> =>
  query(
    build
      .select({ id: users.id })
      .from(instances)
      .innerJoin(users, eq(users.brandId, instances.brandId))
      .where(and(eq(instances.id, instanceId), sql`${users.id} in (${ids(userIds)})`)),
    (rows) => new Set(rows.map(({ id }) => id)),
  );

/** An existing broadcast: the fingerprint of its request and its answer. */
export type StoredBroadcast = { id: string; fingerprint: string; answer: BroadcastReply };

const stored = (instanceId: string, requestId: string) =>
  build
    .select({ id: broadcasts.id, fingerprint: broadcasts.fingerprint, answer: broadcasts.answerJson })
    .from(broadcasts)
    .where(and(eq(broadcasts.instanceId, instanceId), eq(broadcasts.requestId, requestId)));

/** The instance's broadcast with this request id, or null. */
export const broadcastByRequest = (instanceId: string, requestId: string): Query<StoredBroadcast | null> =>
  query(stored(instanceId, requestId), ([found]) => found ?? null);

export type NewBroadcast = {
  id: string;
  brandId: string;
  instanceId: string;
  requestId: string;
  traceId: string;
  fingerprint: string;
  content: string;
  metadata: Record<string, unknown>;
  answer: BroadcastReply;
  recipients: readonly { userId: string; messageId: string }[];
};

/**
 * Inserts the broadcast and its recipients in one transaction. Returns the broadcast that has the request id afterwards:
 * this one, or an earlier one.
 */
export async function insertBroadcast(db: Db, broadcast: NewBroadcast): Promise<StoredBroadcast> {
  const { id, brandId, instanceId, requestId, traceId, fingerprint, content, metadata, answer } = broadcast;
  const recipients = broadcast.recipients.map(({ userId, messageId }) => ({ user_id: userId, message_id: messageId }));
  const statements = [
    build
      .insert(broadcasts)
      .values({
        id,
        brandId,
        instanceId,
        requestId,
        traceId,
        fingerprint,
        content,
        metadataJson: metadata,
        answerJson: answer,
      })
      .onConflictDoNothing({ target: [broadcasts.instanceId, broadcasts.requestId] }),
    sql`insert into broadcast_recipients (brand_id, broadcast_id, user_id, message_id)
      select b.brand_id, b.id, r.user_id, r.message_id
      from broadcasts b, jsonb_to_recordset(${JSON.stringify(recipients)}::jsonb) as r(user_id uuid, message_id uuid)
      where b.id = ${id}
      on conflict (broadcast_id, user_id) do nothing`,
  ];
  const [found] = await writeAndRead(db, statements, stored(instanceId, requestId));
  if (found === undefined) throw new Error("The broadcast that was just inserted is missing");
  return found;
}

/** A broadcast of one brand; of any brand (null) only in development without a key. */
export type Scope = { id: string; brandId: string | null };

const within = ({ id, brandId }: Scope): SQL =>
  sql`b.id = ${id} and ${brandId === null ? sql`true` : sql`b.brand_id = ${brandId}`}`;

const isInScope = ({ id, brandId }: Scope): SQL | undefined =>
  and(eq(broadcasts.id, id), brandId === null ? undefined : eq(broadcasts.brandId, brandId));

/**
 * The state of recipient `r` with message `m`: a message that the channel has refused or failed to deliver leaves its
 * recipient failed, whenever the channel reports it.
 */
const isDeliveryFailed = sql`(r.state = 'sent' and m.metadata_json #>> '{delivery,state}' = 'failed')`;
const recipientState = sql`case when ${isDeliveryFailed} then 'failed' else r.state end`;

/** One statement, so that counts and page are consistent; null when no broadcast is in scope. */
export const progressOf = (scope: Scope, page: RecipientPage): Query<Progress | null> =>
  query(progressStatement(scope, page), toProgress);

const progressStatement = (scope: Scope, page: RecipientPage) => sql<ProgressRow>`
    select b.id, b.instance_id, b.request_id, b.content,
      (extract(epoch from b.created_at) * 1000)::float8 as created_at,
      (extract(epoch from b.cancelled_at) * 1000)::float8 as cancelled_at,
      (select coalesce(jsonb_object_agg(state, people), '{}')
        from (
          select ${recipientState} as state, count(*) as people
          from broadcast_recipients r left join messages m on m.id = r.message_id
          where r.broadcast_id = b.id group by 1
        ) c
      ) as counts,
      (select coalesce(jsonb_object_agg(state, messages), '{}')
        from (
          select m.metadata_json #>> '{delivery,state}' as state, count(*) as messages
          from broadcast_recipients r join messages m on m.id = r.message_id
          where r.broadcast_id = b.id and m.metadata_json #>> '{delivery,state}' is not null group by 1
        ) d) as deliveries,
      (select coalesce(jsonb_agg(jsonb_build_object(
          'userId', p.user_id, 'messageId', p.message_id, 'state', p.state, 'attempts', p.attempts,
          'error', case
            when p.error_code is not null then jsonb_build_object('code', p.error_code, 'message', p.error_message)
            when p.state = 'failed' then jsonb_build_object('code', p.delivery #>> '{error,code}',
              'message', p.delivery #>> '{error,reason}') end,
          'delivery', p.delivery) order by p.user_id), '[]')
        from (
          select r.user_id, r.message_id, r.attempts, r.error_code, r.error_message, ${recipientState} as state,
            m.metadata_json -> 'delivery' as delivery
          from broadcast_recipients r left join messages m on m.id = r.message_id
          where r.broadcast_id = b.id
            ${page.after === null ? sql`` : sql`and r.user_id > ${page.after}`}
            ${page.state === null ? sql`` : sql`and ${recipientState} = ${page.state}`}
          order by r.user_id limit ${page.limit}
        ) p) as recipients
    from broadcasts b where ${within(scope)}`;

type ProgressRow = Pick<Progress, "id" | "content" | "deliveries" | "recipients"> & {
  instance_id: string;
  request_id: string;
  created_at: number;
  cancelled_at: number | null;
  counts: Partial<Progress["counts"]>;
};

const toProgress = ([row]: ProgressRow[]): Progress | null =>
  row === undefined
    ? null
    : {
        id: row.id,
        instanceId: row.instance_id,
        requestId: row.request_id,
        content: row.content,
        createdAt: row.created_at,
        cancelledAt: row.cancelled_at,
        counts: { pending: 0, claimed: 0, sent: 0, failed: 0, cancelled: 0, ...row.counts },
        deliveries: row.deliveries,
        recipients: row.recipients,
      };

const COUNTS_ONLY: RecipientPage = { limit: 0, after: null, state: null };

/**
 * Cancels a broadcast and its pending recipients. Waits for claims in progress, and no claim is made after it: `nextRound`
 * locks the same row. Null when no broadcast is in scope.
 */
export async function cancelBroadcast(db: Db, scope: Scope): Promise<Progress | null> {
  const statements = [
    build
      .update(broadcasts)
      .set({ cancelledAt: sql`now()`, updatedAt: sql`now()` })
      .where(and(isInScope(scope), isNull(broadcasts.cancelledAt))),
    sql`update broadcast_recipients r set state = 'cancelled', updated_at = now()
      from broadcasts b where ${within(scope)} and r.broadcast_id = b.id and r.state = 'pending'`,
  ];
  return toProgress(await writeAndRead(db, statements, progressStatement(scope, COUNTS_ONLY)));
}

/**
 * Makes failed recipients pending again with their attempts reset, unless the broadcast is cancelled. The failed delivery
 * of a message is removed, since its next delivery starts anew.
 */
export async function retryBroadcast(db: Db, scope: Scope): Promise<Progress | null> {
  const statements = [
    // The broadcast is locked before its recipients in every transaction, to prevent deadlocks.
    build.select({ id: broadcasts.id }).from(broadcasts).where(isInScope(scope)).for("no key update"),
    sql`with failed as (
        select r.id, r.message_id
        from broadcasts b join broadcast_recipients r on r.broadcast_id = b.id left join messages m on m.id = r.message_id
        where ${within(scope)} and b.cancelled_at is null and (r.state = 'failed' or ${isDeliveryFailed})
      ), retried as (
        update broadcast_recipients r
        set state = 'pending', attempts = 0, due_at = now(), error_code = null, error_message = null, updated_at = now()
        from failed where r.id = failed.id
      )
      update messages m set metadata_json = m.metadata_json - 'delivery', updated_at = now()
      from failed where m.id = failed.message_id`,
  ];
  return toProgress(await writeAndRead(db, statements, progressStatement(scope, COUNTS_ONLY)));
}
