import { eraseSession } from "../db/erasure.ts";
import { sessionById } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { addressOfSession } from "../domain/address.ts";
import type { Conversation, SessionCommand, Unknown } from "../rpc/conversation.ts";
import { notFound, toAppError } from "../domain/errors.ts";
import type { Caller } from "../domain/principal.ts";
import type { Refused } from "../domain/errors.ts";

type EndDeps = Pick<Deps, "read" | "conversation">;

/**
 * Ends a session, so that the next message starts a new one, and returns the time in epoch milliseconds. The object
 * decides; the ledger writes it to Postgres. Refuses (404) a session unknown to the brand and (403) another user's.
 */
export async function expireSession(deps: EndDeps, caller: Caller, sessionId: string): Promise<number> {
  const { expiredAt } = await atObject(deps, { caller, sessionId }, (object, ending) => object.expire(ending));
  return expiredAt;
}

/**
 * Erases a session with its messages, first in its object, so that no entry is written afterwards, then in Postgres.
 * Idempotent: repeating an interrupted erasure completes it. Refuses like `expireSession`.
 */
export async function eraseConversation(
  deps: EndDeps & Pick<Deps, "db">,
  caller: Caller,
  sessionId: string,
): Promise<void> {
  const { session } = await atObject(deps, { caller, sessionId }, (object, ending) => object.erase(ending));
  const wasThere = await eraseSession(deps.db, { brandId: caller.brandId, sessionId, session });
  if (session === null && !wasThere) throw notFound("conversation", sessionId);
}

type Expected<Outcome> = Exclude<Outcome, Unknown | Refused>;

/** Calls the session's object; when it no longer knows the session, calls again with the session from Postgres. */
async function atObject<Outcome extends { kind: string }>(
  { conversation, read }: EndDeps,
  request: Omit<SessionCommand, "session">,
  ask: (object: Conversation, ending: SessionCommand) => Promise<Outcome>,
): Promise<Expected<Outcome>> {
  const { caller, sessionId } = request;
  const askAt = async (address: string, session: SessionCommand["session"]): Promise<Expected<Outcome> | null> => {
    const outcome: { kind: string } = await ask(conversation(address), { ...request, session });
    if (outcome.kind === "refused") throw toAppError(outcome as Refused);
    return outcome.kind === "unknown" ? null : (outcome as Expected<Outcome>);
  };
  const address = addressOfSession(sessionId);
  const known = address === null ? null : await askAt(address, null);
  if (known !== null) return known;

  const session = await read(sessionById(caller.brandId, sessionId));
  const outcome = session === null ? null : await askAt(session.address, session);
  if (outcome === null) throw notFound("conversation", sessionId);
  return outcome;
}
