import type { SessionCommand, Erased, Unknown } from "../../../src/rpc/conversation.ts";
import { replyMessageIdOf } from "../../../src/domain/ids.ts";
import { isOver } from "../../../src/domain/session.ts";
import type { Session } from "../../../src/domain/session.ts";
import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "../stores/state.ts";
import { isEnded, isErased, reserveSessionNumber } from "./current.ts";
import { knownSession } from "./unsaved.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import { toRefused } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

/** What was read before the erasing and is still on its way to somewhere is no older than this. */
export const TOMBSTONE_MS = 24 * 3_600_000;

type Options = { now: number; rememberMs: number; sessionTimeoutMs: number };

/**
 * Forgets a session and everything said in it: what waits for Postgres, what is running, what is to be sent, and what a
 * webhook brought while it was open and nobody has looked at. A tombstone stays, so that nothing that was read before
 * brings it back. `turnIds` are those nobody will be answered any more.
 */
export function erase(
  stores: Pick<Stores, "storage" | "state" | "outbox">,
  { sessionId, caller, session: saved }: SessionCommand,
  { now, rememberMs, sessionTimeoutMs }: Options,
): { outcome: Erased | Unknown | Refused; turnIds: string[] } {
  const { storage, state } = stores;
  const owner = state.get("owner");
  const session = knownSession(stores, sessionId) ?? saved;
  const whose = session ?? (isErased(state, sessionId) ? owner : null);
  if (whose === null) return { outcome: { kind: "unknown" }, turnIds: [] };
  const refusal = toRefused(() =>
    authorize(caller, "conversations:delete", conversationOf({ ...whose, id: sessionId })),
  );
  if (refusal !== null) return { outcome: refusal, turnIds: [] };

  return storage.transactionSync(() => {
    const arrived = session === null ? [] : arrivedIn(stores, session, sessionTimeoutMs);
    const turnIds = closeTurns(storage, sessionId, arrived, now + rememberMs);
    for (const turnId of turnIds) {
      storage.sql.exec("DELETE FROM deliveries WHERE message_id = ?", replyMessageIdOf(turnId));
    }
    storage.sql.exec(
      `DELETE FROM deliveries WHERE message_id IN (
         SELECT json_extract(m.value, '$.id') FROM entries, json_each(entries.entry, '$.messages') m WHERE entries.session_id = ?)`,
      sessionId,
    );
    storage.sql.exec("DELETE FROM entries WHERE session_id = ?", sessionId);
    if (session !== null && isLast(state, sessionId)) deletePendingDeadLetters(storage, session.startedAt);
    if (state.get("session")?.id === sessionId) state.remove("session");
    if (state.get("closed")?.sessionId === sessionId) state.remove("closed");
    reserveSessionNumber(state, sessionId);
    state.set("owner", { brandId: whose.brandId, userId: whose.userId });
    const others = (state.get("erased") ?? []).filter((tombstone) => tombstone.sessionId !== sessionId);
    state.set("erased", [...others, { sessionId, erasedAt: now }]);
    return { outcome: { kind: "erased", session }, turnIds };
  });
}

/** Whether what comes next would be said in it, if it is not over. */
function isLast(state: StateStore, sessionId: string): boolean {
  const current = state.get("session");
  return current === null || current.id === sessionId;
}

/** The places of messages that wait to be prepared and were said before the session was over. */
function arrivedIn(
  { storage, state }: Pick<Stores, "storage" | "state" | "outbox">,
  session: Session,
  timeoutMs: number,
): number[] {
  if (!isLast(state, session.id) || isEnded(state, session)) return [];
  const positions: number[] = [];
  let { lastMessageAt } = session;
  const waiting = storage.sql
    .exec<{ position: number; admitted_at: number }>(
      "SELECT position, admitted_at FROM turns WHERE state = 'queued' AND inbound IS NOT NULL ORDER BY position",
    )
    .toArray();
  for (const { position, admitted_at } of waiting) {
    if (isOver({ lastMessageAt }, timeoutMs, admitted_at)) break;
    positions.push(position);
    lastMessageAt = admitted_at;
  }
  return positions;
}

/** Their ids are remembered, so that a webhook that comes again says nothing anew; their words are not. */
const closeTurns = (storage: Storage, sessionId: string, positions: number[], expiresAt: number): string[] =>
  storage.sql
    .exec<{ turn_id: string }>(
      `UPDATE turns SET state = 'rejected', lease_until = NULL, expires_at = coalesce(expires_at, ?), inbound = NULL,
         work = NULL, answer = NULL
       WHERE session_id = ? OR position IN (SELECT value FROM json_each(?)) RETURNING turn_id`,
      expiresAt,
      sessionId,
      JSON.stringify(positions),
    )
    .toArray()
    .map(({ turn_id }) => turn_id);

/** Letters that wait for Postgres, about messages that came since a moment. */
const deletePendingDeadLetters = (storage: Storage, since: number): void => {
  storage.sql.exec(
    `DELETE FROM entries WHERE session_id = '' AND json_extract(entry, '$.kind') = 'dead_letter'
       AND json_extract(entry, '$.id') IN (SELECT turn_id FROM turns WHERE state = 'rejected' AND admitted_at >= ?)`,
    since,
  );
};

/** Takes away tombstones that nothing can come back past any more; tells when the next one goes. */
export function pruneTombstones(state: StateStore, now: number): number | null {
  const kept = (state.get("erased") ?? []).filter(({ erasedAt }) => erasedAt + TOMBSTONE_MS > now);
  if (kept.length === 0) {
    state.remove("erased");
    return null;
  }
  state.set("erased", kept);
  return Math.min(...kept.map(({ erasedAt }) => erasedAt)) + TOMBSTONE_MS;
}
