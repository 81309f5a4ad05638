import type { ObjectDeps } from "../../src/deps.ts";
import type { InstanceBundle } from "../../src/domain/instance.ts";
import { isCarried } from "../../src/domain/ledger.ts";
import type { StoredEntry } from "../../src/domain/ledger.ts";
import { pendingMessage, pullMessage } from "../../src/domain/ledger-message.ts";
import { Alarm } from "../runtime/alarm.ts";
import type { Storage } from "../runtime/storage.ts";
import type { ChannelContext } from "./channel/context.ts";
import { learnAliases } from "./channel/forwarding.ts";
import { resolve } from "./channel/resolve.ts";
import { announceDelivery, isServiceWindowOpen, queue } from "./channel/send.ts";
import { DeliverySender } from "./channel/sender.ts";
import { cleanUp } from "./cleanup.ts";
import { LedgerNotifier } from "./ledger-notifier.ts";
import { openStores } from "./stores.ts";
import { firstAlarmMs } from "./turns/submit.ts";
import { runTurn } from "./turns/run.ts";
import { TurnRunner } from "./turns/runner.ts";
import { EVENT } from "../../src/telemetry/events.ts";

/** The stores of a conversation and the workers over them. */
export type Components = Omit<ChannelContext, "deliverySender"> & {
  /** Bundles an adapter has been built from, see `admit`. */
  validatedBundles: WeakSet<InstanceBundle>;
  ledgerNotifier: LedgerNotifier;
  deliverySender: DeliverySender;
  runner: TurnRunner;
  alarm: Alarm;
  /** Whether the caller carries a new entry to the ledger; else it is announced. */
  handOver: (entry: StoredEntry) => boolean;
};

/** What a conversation needs of the object it is in. */
export type ConversationHost = {
  storage: Storage;
  address: string;
  deps: ObjectDeps;
  /** The time the platform's alarm is set to, or null. */
  alarmAt: number | null;
  setAlarm: (at: number) => void;
  /** Keeps the object awake for work that no caller waits for. */
  background: (work: Promise<unknown>) => void;
  /** Deletes everything the object stores. */
  empty: () => void;
};

/** Opens the stores and connects the workers. A new incarnation continues from what the storage holds. */
export function createConversation({
  storage,
  address,
  deps,
  alarmAt,
  setAlarm,
  background,
  empty,
}: ConversationHost): Components {
  const { log, now, config } = deps;
  const stores = openStores(storage, now);
  const sendToLedger = (message: string) => {
    const send = async () => deps.notifyLedger(message);
    // The alarm repeats a message that failed.
    background(send().catch((error: unknown) => log.warn(EVENT.ledgerNotifyFailed, { error, address })));
  };
  const ledgerNotifier = new LedgerNotifier({
    outbox: stores.outbox,
    address,
    announce: () => sendToLedger(pullMessage(address)),
    lookUp: (pending) => sendToLedger(pendingMessage(pending)),
  });
  const wake = (at: number) => alarm.noLaterThan(at);
  const notifyLedger = () => wake(ledgerNotifier.notify(now()));
  const handOver = (entry: StoredEntry): boolean => {
    const isHandedOver = isCarried(entry);
    if (isHandedOver) wake(ledgerNotifier.carried(now()));
    else notifyLedger();
    return isHandedOver;
  };
  const cancelTurns = (turnIds: readonly string[]) => runner.cancel(turnIds);
  const deliverySender = new DeliverySender({
    deliveries: stores.deliveries,
    sender: deps.sender,
    isWindowOpen: (channel, at) => isServiceWindowOpen({ ...stores, deps }, channel, at),
    learned: ({ phoneNumberId }, recipient) =>
      background(learnAliases(channel, { number: null, phoneNumberId }, recipient)),
    changed: (messageId) => announceDelivery({ ...stores, notifyLedger }, messageId),
    background,
    wake,
    now,
    random: Math.random,
    log,
  });
  const startTurns = () => {
    wake(now() + firstAlarmMs());
    runner.runNext();
  };
  const channel: ChannelContext = { ...stores, address, deps, deliverySender, notifyLedger, startTurns, cancelTurns };
  const runner = new TurnRunner({
    turns: stores.turns,
    leaseMs: config.lockExpirySeconds * 1000,
    now,
    resolve: (turn, attempt) => resolve(channel, turn, attempt),
    run: (turn, signal) =>
      runTurn(
        stores,
        {
          address,
          deps,
          hasWaiter: runner.hasWaiter,
          queueReply: (...reply) => queue(channel, ...reply),
          handOver,
          committed: () => {
            notifyLedger();
            deliverySender.sendNext();
          },
          failTurn: (turnId, error) => runner.fail(turnId, error),
        },
        turn,
        signal,
      ),
    wake,
    background,
    report: (error, turnId) => log.error(EVENT.turnFailed, { error, turn_id: turnId, address }),
  });
  const alarm = new Alarm(
    [runner.resume, deliverySender.resume, ledgerNotifier.repeat, (at) => cleanUp(stores, { deps, empty }, at)],
    { at: alarmAt, now: now(), set: setAlarm, report: (error) => log.error(EVENT.alarmFailed, { error, address }) },
  );
  return { ...channel, deliverySender, validatedBundles: new WeakSet(), ledgerNotifier, runner, alarm, handOver };
}
