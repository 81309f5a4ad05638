import { messageById, messagesPage } from "../db/messages.ts";
import type { Deps } from "../deps.ts";
import { notFound } from "../domain/errors.ts";
import { pageOf, savedWindow } from "../domain/history.ts";
import type { HistoryMessage } from "../domain/history.ts";
import { encodeCursor } from "../domain/page.ts";
import type { MessagePage, Pagination } from "../domain/page.ts";
import type { Caller } from "../domain/principal.ts";
import { authorize, conversationOf } from "../domain/authorization.ts";
import { callerScope } from "./session.ts";
import { withUnsaved } from "./unsaved.ts";

type HistoryPage = { messages: HistoryMessage[]; pagination: Pagination };

/**
 * Returns a page of a conversation's messages, newest first, including those not in Postgres yet. One query and one call
 * to the object. Refuses (404) a conversation unknown to the brand and (403) another user's.
 */
export async function history(
  deps: Pick<Deps, "read" | "conversation">,
  caller: Caller,
  sessionId: string,
  { limit, page = 1, before: cursor }: MessagePage,
): Promise<HistoryPage> {
  const before = cursor ?? null;
  const offset = before === null ? (page - 1) * limit : 0;
  // One more than the page, to know whether there is a next one.
  const wanted = { offset, limit: limit + 1 };
  const request = { sessionId, caller, select: "messages", before, limit: offset + wanted.limit } as const;

  const found = await withUnsaved(deps, request, ({ messages }) =>
    deps.read(
      messagesPage(callerScope(caller), sessionId, {
        before,
        ...savedWindow(messages.length, offset, wanted.limit),
        except: messages.map(({ id }) => id),
      }),
    ),
  );
  const session = found.saved?.session ?? found.unsaved?.session;
  if (session === undefined) throw notFound("conversation", sessionId);
  authorize(caller, "conversations:read", conversationOf(session));

  const unsaved: HistoryMessage[] = found.unsaved?.messages ?? [];
  // Unwritten messages that were left out are on the next page, and everything older with them.
  const cutAt = found.unsaved?.isCut === true ? (unsaved.at(-1) ?? null) : null;
  const messages = pageOf<HistoryMessage>(unsaved, found.saved?.messages ?? [], wanted, cutAt);
  const shown = messages.slice(0, limit);
  const last = shown.at(-1) ?? cutAt;
  const hasMore = (messages.length > limit || cutAt !== null) && last !== null;
  return {
    messages: shown,
    pagination: {
      limit,
      page: before === null ? page : null,
      has_more: hasMore,
      next_cursor: hasMore ? encodeCursor({ at: last.createdAt, tie: last.seq }) : null,
    },
  };
}

/** Returns one message of a conversation, or null. Refuses like `history`. */
export async function findMessage(
  deps: Pick<Deps, "read" | "conversation">,
  caller: Caller,
  sessionId: string,
  messageId: string,
): Promise<HistoryMessage | null> {
  const request = { sessionId, caller, select: { messageId } };
  const { saved, unsaved } = await withUnsaved(deps, request, () =>
    deps.read(messageById(callerScope(caller), sessionId, messageId)),
  );
  const session = saved?.session ?? unsaved?.session;
  if (session === undefined) throw notFound("conversation", sessionId);
  authorize(caller, "conversations:read", conversationOf(session));
  return unsaved?.messages.find(({ id }) => id === messageId) ?? saved?.message ?? null;
}
