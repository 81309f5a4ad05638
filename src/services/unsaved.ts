import type { StoredSession } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { addressOfSession } from "../domain/address.ts";
import type { SessionRequest, Unsaved } from "../rpc/conversation.ts";
import { toAppError } from "../domain/errors.ts";
import type { Cursor } from "../domain/page.ts";
type Request = SessionRequest & { before: Cursor | null; limit: number };

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
    const outcome = await conversation(address).unsaved(request);
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
