import type { SessionCommand, Erased, Unknown } from "../../../src/rpc/conversation.ts";
import { replyMessageIdOf } from "../../../src/domain/ids.ts";
import { isOver } from "../../../src/domain/session.ts";
import type { Session } from "../../../src/domain/session.ts";
import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "../stores/state.ts";
import { isEnded, isErased } from "./current.ts";
import { knownSession } from "./unsaved.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import { toRefused } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

/** Tombstones outlive every read that may have started before the erasure. */
export const TOMBSTONE_MS = 24 * 3_600_000;

type Options = { now: number; rememberMs: number; sessionTimeoutMs: number };

/**
 * Deletes a session with its pending entries, turns, deliveries and the unresolved webhook messages received while it was
 * open. Leaves a tombstone, so that a late read can't restore it. `turnIds` are the turns that get no answer.
 */
export function erase(
  stores: Pick<Stores, "storage" | "state" | "turns" | "outbox" | "amendments">,
  { sessionId, caller, session: saved }: SessionCommand,
  { now, rememberMs, sessionTimeoutMs }: Options,
): { outcome: Erased | Unknown | Refused; turnIds: string[] } {
  const { storage, state, turns, outbox, amendments } = stores;
  const owner = state.get("owner");
  const session = knownSession(stores, sessionId) ?? saved;
  const target = session ?? (isErased(state, sessionId) ? owner : null);
  if (target === null) return { outcome: { kind: "unknown" }, turnIds: [] };
  const refusal = toRefused(() =>
    authorize(caller, "conversations:delete", conversationOf({ ...target, id: sessionId })),
  );
  if (refusal !== null) return { outcome: refusal, turnIds: [] };

  return storage.transactionSync(() => {
    const arrived = session === null ? [] : arrivedIn(stores, session, sessionTimeoutMs);
    const turnIds = closeTurns(storage, sessionId, arrived, now + rememberMs);
    turns.reload();
    for (const turnId of turnIds) {
      storage.sql.exec("DELETE FROM deliveries WHERE message_id = ?", replyMessageIdOf(turnId));
    }
    storage.sql.exec(
      `DELETE FROM deliveries WHERE message_id IN (
         SELECT json_extract(m.value, '$.id') FROM entries, json_each(entries.entry, '$.messages') m WHERE entries.session_id = ?)`,
      sessionId,
    );
    outbox.deleteEntries(sessionId);
    // Edits hold words too.
    amendments.clear();
    state.remove("profile");
    if (session !== null && isLast(state, sessionId)) outbox.deleteDeadLetters(session.startedAt);
    if (state.get("session")?.id === sessionId) state.remove("session");
    if (state.get("closed")?.sessionId === sessionId) state.remove("closed");
    state.set("owner", { brandId: target.brandId, userId: target.userId });
    const others = (state.get("erased") ?? []).filter((tombstone) => tombstone.sessionId !== sessionId);
    state.set("erased", [...others, { sessionId, erasedAt: now }]);
    return { outcome: { kind: "erased", session }, turnIds };
  });
}

/** True when the session is the conversation's latest. */
function isLast(state: StateStore, sessionId: string): boolean {
  const current = state.get("session");
  return current === null || current.id === sessionId;
}

/** Positions of unresolved webhook messages that were received before the session timed out. */
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

/** Rejects turns and deletes their content. Their request ids stay taken, so a redelivered webhook is a duplicate. */
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

/** Deletes expired tombstones; returns when the next one expires. */
export function pruneTombstones(state: StateStore, now: number): number | null {
  const kept = (state.get("erased") ?? []).filter(({ erasedAt }) => erasedAt + TOMBSTONE_MS > now);
  if (kept.length === 0) {
    state.remove("erased");
    return null;
  }
  state.set("erased", kept);
  return Math.min(...kept.map(({ erasedAt }) => erasedAt)) + TOMBSTONE_MS;
}
