import type { SessionStarted, StartSession } from "../../../src/rpc/conversation.ts";
import { uuidv7 } from "../../../src/domain/ids.ts";
import { setCurrentSession, isErased } from "./current.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import { assertBundleFits } from "../../../src/domain/instance.ts";
import { sessionNotFound, toRefused } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

/** Starts a session before its first message. A repeated call returns the session unchanged. */
export function start(
  { storage, state, outbox }: Pick<Stores, "storage" | "state" | "outbox">,
  { session, bundle }: StartSession,
  { address, now }: { address: string; now: number },
): SessionStarted | Refused {
  if (isErased(state, session.id)) return sessionNotFound(session.id);
  const current = state.get("session");
  if (current?.id === session.id) return { kind: "started", session: current };
  const refusal = toRefused(() => assertBundleFits(JSON.stringify(bundle)));
  if (refusal !== null) return refusal;
  storage.transactionSync(() => {
    setCurrentSession(state, session, now);
    state.set("bundle", bundle);
    const closed = state.get("closed");
    outbox.add({ id: uuidv7(now), address, session, closed, turn: null, messages: [], usage: null });
    state.remove("closed");
  });
  return { kind: "started", session };
}
