import type { ObjectDeps } from "../../src/deps.ts";
import type { Storage } from "../runtime/storage.ts";
import { migrate } from "../runtime/migrate.ts";
import { Alarm } from "../runtime/alarm.ts";
import { LedgerNotifier } from "./ledger-notifier.ts";
import { Correspondence } from "./channel/send.ts";
import { StateStore } from "./stores/state.ts";
import { Outbox } from "./stores/outbox.ts";
import { runTurn } from "./turns/run.ts";
import { TurnRunner } from "./turns/runner.ts";
import { cleanUp } from "./cleanup.ts";
import { MIGRATIONS } from "./stores/schema.ts";
import { TurnStore } from "./stores/turns.ts";

/** What a conversation is made of, over one storage. */
export type Components = {
  storage: Storage;
  state: StateStore;
  turns: TurnStore;
  outbox: Outbox;
  ledgerNotifier: LedgerNotifier;
  correspondence: Correspondence;
  runner: TurnRunner;
  alarm: Alarm;
};

/** What the parts need of the object they are in. */
export type ConversationHost = {
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
export function createConversation(surroundings: ConversationHost): Components {
  const { storage, address, deps, background } = surroundings;
  const { log, now, config } = deps;
  migrate(storage, MIGRATIONS);
  const state = new StateStore(storage);
  const turns = new TurnStore(storage);
  const outbox = new Outbox(storage, state);
  const ledgerNotifier = new LedgerNotifier(outbox, () => {
    // A ring that failed is repeated by the alarm.
    background(deps.notifyLedger(address).catch((error: unknown) => log.warn("ring_failed", { error, address })));
  });
  const wake = (at: number) => alarm.noLaterThan(at);
  const correspondence = new Correspondence({
    ...{ storage, state, turns, outbox, wake, background, address, deps },
    ring: () => wake(ledgerNotifier.notify(now())),
    drop: (turnIds) => runner.drop(turnIds),
  });
  const runner = new TurnRunner({
    turns,
    leaseMs: config.lockExpirySeconds * 1000,
    now,
    resolve: (turn, attempt) => correspondence.resolve(turn, attempt),
    run: (turn, signal) => runTurn(parts, surroundings, turn, signal),
    wake,
    background,
    report: (error, turn) => log.error("turn_failed", { error, turn_id: turn.turnId, trace_id: turn.work?.traceId }),
  });
  const alarm = new Alarm(
    [runner.resume, correspondence.sender.resume, ledgerNotifier.repeat, (at) => cleanUp(parts, surroundings, at)],
    surroundings.setAlarm,
    (error) => log.error("alarm_failed", { error, address }),
  );
  const parts: Components = { storage, state, turns, outbox, ledgerNotifier, correspondence, runner, alarm };
  return parts;
}
