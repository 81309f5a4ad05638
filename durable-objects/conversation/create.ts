import type { ObjectDeps } from "../../src/deps.ts";
import type { Storage } from "../runtime/storage.ts";
import { migrate } from "../runtime/migrate.ts";
import { Alarm } from "../runtime/alarm.ts";
import { Bell } from "./ledger-notifier.ts";
import { Correspondence } from "./channel/send.ts";
import { FactStore } from "./stores/state.ts";
import { Outbox } from "./stores/outbox.ts";
import { runTurn } from "./turns/run.ts";
import { Runner } from "./turns/runner.ts";
import { sweep } from "./cleanup.ts";
import { MIGRATIONS } from "./stores/schema.ts";
import { Turns } from "./stores/turns.ts";

/** What a conversation is made of, over one storage. */
export type Parts = {
  storage: Storage;
  facts: FactStore;
  turns: Turns;
  outbox: Outbox;
  bell: Bell;
  correspondence: Correspondence;
  runner: Runner;
  alarm: Alarm;
};

/** What the parts need of the object they are in. */
export type Surroundings = {
  storage: Storage;
  address: string;
  deps: ObjectDeps;
  setAlarm: (at: number) => void;
  /** Keeps the object awake for work that no caller waits for. */
  background: (work: Promise<unknown>) => void;
  /** Nothing of this conversation matters any more. */
  empty: () => void;
};

/** Makes the parts and connects them. Reads what the storage holds, so a new incarnation goes on where the last one was. */
export function createParts(surroundings: Surroundings): Parts {
  const { storage, address, deps, background } = surroundings;
  const { log, now, config } = deps;
  migrate(storage, MIGRATIONS);
  const facts = new FactStore(storage);
  const turns = new Turns(storage);
  const outbox = new Outbox(storage, facts);
  const bell = new Bell(outbox, () => {
    // A ring that failed is repeated by the alarm.
    background(deps.ringLedger(address).catch((error: unknown) => log.warn("ring_failed", { error, address })));
  });
  const wake = (at: number) => alarm.noLaterThan(at);
  const correspondence = new Correspondence({
    ...{ storage, facts, turns, outbox, wake, background, address, deps },
    ring: () => wake(bell.ring(now())),
    drop: (turnIds) => runner.drop(turnIds),
  });
  const runner = new Runner({
    turns,
    leaseMs: config.lockExpirySeconds * 1000,
    now,
    prepare: (turn, attempt) => correspondence.prepare(turn, attempt),
    run: (turn, signal) => runTurn(parts, surroundings, turn, signal),
    wake,
    background,
    report: (error, turn) => log.error("turn_failed", { error, turn_id: turn.turnId, trace_id: turn.work?.traceId }),
  });
  const alarm = new Alarm(
    [runner.resume, correspondence.courier.work, bell.repeat, (at) => sweep(parts, surroundings, at)],
    surroundings.setAlarm,
    (error) => log.error("alarm_failed", { error, address }),
  );
  const parts: Parts = { storage, facts, turns, outbox, bell, correspondence, runner, alarm };
  return parts;
}
