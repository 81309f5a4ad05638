import { sessionsPage, sessionWithCounts } from "../db/sessions.ts";
import type { RoleCounts, Scope, StoredSession } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { encodeCursor } from "../domain/page.ts";
import type { Pagination, SessionPage } from "../domain/page.ts";
import { personOf } from "../domain/principal.ts";
import type { Caller } from "../domain/principal.ts";
import { endOf, minutesSince, sessionTimeoutMs } from "../domain/session.ts";
import type { Session } from "../domain/session.ts";
import { authorize, conversationOf } from "../domain/authorization.ts";
import { withUnsaved } from "./unsaved.ts";
/** A session in a list. */
export type SessionSummary = Session & {
  /** null while it is open. Epoch milliseconds. */
  expiredAt: number | null;
};

export type SessionInfo = SessionSummary & {
  metadata: Record<string, unknown>;
  messageCount: RoleCounts;
  /** Minutes since the session started, and since its last message. */
  ageMinutes: number;
  inactiveMinutes: number;
};

/** Returns a session in detail, including messages not in Postgres yet, or null. Refuses (403) another user's. */
export async function sessionInfo(
  deps: Pick<Deps, "read" | "conversation" | "config" | "now">,
  caller: Caller,
  sessionId: string,
): Promise<SessionInfo | null> {
  const request = { sessionId, caller, select: "counts" } as const;
  const { saved, unsaved } = await withUnsaved(deps, request, ({ messages }) =>
    deps.read(
      sessionWithCounts(
        callerScope(caller),
        sessionId,
        messages.map(({ id }) => id),
      ),
    ),
  );
  const session = unsaved?.session ?? saved?.session;
  if (session === undefined) return null;
  authorize(caller, "conversations:read", conversationOf(session));

  const now = deps.now();
  const counts: RoleCounts = { ...(saved?.counts ?? { user: 0, assistant: 0, system: 0 }) };
  for (const { role } of unsaved?.messages ?? []) counts[role] += 1;
  return {
    ...summarize(deps, session, unsaved?.endedAt ?? null, saved?.session ?? null),
    metadata: { ...saved?.session.metadata, ...session.metadata },
    messageCount: counts,
    ageMinutes: minutesSince(session.startedAt, now),
    inactiveMinutes: minutesSince(session.lastMessageAt, now),
  };
}

/** Lists sessions, newest first: a user's own, or a brand's, optionally of one user. */
export async function listSessions(
  deps: Pick<Deps, "read" | "config" | "now">,
  caller: Caller,
  { limit, page = 1, before }: SessionPage,
  userId: string | null,
): Promise<{ sessions: SessionSummary[]; pagination: Pagination }> {
  const ownerId = userId ?? personOf(caller);
  const resource = { type: "conversation", id: ownerId ?? caller.brandId, brandId: caller.brandId };
  authorize(caller, "conversations:read", ownerId === null ? resource : { ...resource, userId: ownerId });

  const offset = before === undefined ? (page - 1) * limit : 0;
  const scope = { brandId: caller.brandId, userId: ownerId };
  const found = await deps.read(sessionsPage(scope, { before: before ?? null, offset, limit: limit + 1 }));
  const shown = found.slice(0, limit);
  const last = shown.at(-1);
  const hasMore = found.length > limit && last !== undefined;
  return {
    sessions: shown.map((session) => summarize(deps, session, null, session)),
    pagination: {
      limit,
      page: before === undefined ? page : null,
      has_more: hasMore,
      next_cursor: hasMore ? encodeCursor({ at: last.startedAt, tie: last.id }) : null,
    },
  };
}

/** Rows that the caller may read. */
export const callerScope = (caller: Caller): Scope => ({ brandId: caller.brandId, userId: personOf(caller) });

/** A message after a session's end has reopened it. */
function summarize(
  { config, now }: Pick<Deps, "config" | "now">,
  session: Session,
  endedAt: number | null,
  saved: StoredSession | null,
): SessionSummary {
  const savedEnd = saved?.expiredAt ?? null;
  const expiredAt = endedAt ?? (savedEnd !== null && session.lastMessageAt <= savedEnd ? savedEnd : null);
  const timeoutMs = sessionTimeoutMs(
    saved && { sessionTimeoutMinutes: saved.timeoutMinutes },
    config.sessionTimeoutMinutes,
  );
  return { ...session, expiredAt: endOf(session, expiredAt, timeoutMs, now()) };
}
