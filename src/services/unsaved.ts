import type { StoredSession } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { addressOfSession } from "../domain/address.ts";
import type { SessionRequest, Unsaved, UnsavedRequest } from "../rpc/conversation.ts";
import { toAppError } from "../domain/errors.ts";

/** More unwritten messages than this are counted when they are written. */
export const MAX_UNSAVED = 10_000;
/** What a page may hold of unwritten messages: an isolate has 128 MB for all of its requests. */
const MAX_BYTES = 4_000_000;

/** Selects messages up to a limit, or usage. */
type Request = SessionRequest & Pick<UnsavedRequest, "select"> & Partial<Pick<UnsavedRequest, "before" | "limit">>;

/**
 * Reads a session from Postgres and merges the rows that its object has not written yet. The object is asked first, since
 * entries it deletes after that are in Postgres already. The session's id holds the object's address; a foreign id costs
 * a second query.
 */
export async function withUnsaved<Saved extends { session: StoredSession }>(
  { conversation }: Pick<Deps, "conversation">,
  request: Request,
  ask: (unsaved: Pick<Unsaved, "messages" | "usage">) => Promise<Saved | null>,
): Promise<{ saved: Saved | null; unsaved: Unsaved | null }> {
  const unsavedAt = async (address: string): Promise<Unsaved | null> => {
    const outcome = await conversation(address).unsaved({
      before: null,
      limit: MAX_UNSAVED,
      maxBytes: MAX_BYTES,
      ...request,
    });
    if (outcome.kind === "refused") throw toAppError(outcome);
    return outcome.kind === "unsaved" ? outcome : null;
  };
  const address = addressOfSession(request.sessionId);
  const unsaved = address === null ? null : await unsavedAt(address);
  const saved = await ask(unsaved ?? { messages: [], usage: [] });
  if (saved === null || saved.session.address === address) return { saved, unsaved };

  const moved = await unsavedAt(saved.session.address);
  return moved === null ? { saved, unsaved } : { saved: await ask(moved), unsaved: moved };
}
