import type { Begun, Beginning, Refused } from "../../../src/rpc/conversation.ts";
import { uuidv7 } from "../../../src/domain/ids.ts";
import type { Storage } from "../../runtime/storage.ts";
import type { FactStore } from "../stores/state.ts";
import type { Outbox } from "../stores/outbox.ts";
import { gone } from "../refusal.ts";
import { enter, isErased } from "./current.ts";

type Parts = { storage: Storage; facts: FactStore; outbox: Outbox };

/** A session without a message yet: there from now on, in Postgres soon. One that has begun before goes on as it is. */
export function begin(
  { storage, facts, outbox }: Parts,
  { session, bundle }: Beginning,
  { address, now }: { address: string; now: number },
): Begun | Refused {
  if (isErased(facts, session.id)) return gone(session.id);
  const current = facts.get("session");
  if (current?.id === session.id) return { kind: "begun", session: current };
  storage.transactionSync(() => {
    enter(facts, session, now);
    facts.set("bundle", bundle);
    const closed = facts.get("closed");
    outbox.add({ id: uuidv7(now), address, session, closed, turn: null, messages: [], usage: null });
    facts.remove("closed");
  });
  return { kind: "begun", session };
}
