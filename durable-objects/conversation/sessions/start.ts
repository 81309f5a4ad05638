import type { SessionStarted, StartSession } from "../../../src/rpc/conversation.ts";
import { uuidv7 } from "../../../src/domain/ids.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { StateStore } from "../stores/state.ts";
import type { Outbox } from "../stores/outbox.ts";
import { setCurrentSession, isErased } from "./current.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import { sessionNotFound } from "../../../src/domain/errors.ts";

type Parts = { storage: Storage; state: StateStore; outbox: Outbox };

/** A session without a message yet: there from now on, in Postgres soon. One that has begun before goes on as it is. */
export function start(
  { storage, state, outbox }: Parts,
  { session, bundle }: StartSession,
  { address, now }: { address: string; now: number },
): SessionStarted | Refused {
  if (isErased(state, session.id)) return sessionNotFound(session.id);
  const current = state.get("session");
  if (current?.id === session.id) return { kind: "started", session: current };
  storage.transactionSync(() => {
    setCurrentSession(state, session, now);
    state.set("bundle", bundle);
    const closed = state.get("closed");
    outbox.add({ id: uuidv7(now), address, session, closed, turn: null, messages: [], usage: null });
    state.remove("closed");
  });
  return { kind: "started", session };
}
