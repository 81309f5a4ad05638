import { migrate } from "../runtime/migrate.ts";
import type { Storage } from "../runtime/storage.ts";
import { AmendmentStore } from "./stores/amendments.ts";
import { DeliveryStore } from "./stores/deliveries.ts";
import { Outbox } from "./stores/outbox.ts";
import { MIGRATIONS } from "./stores/schema.ts";
import { StateStore } from "./stores/state.ts";
import { TurnStore } from "./stores/turns.ts";

/** A conversation's tables. Functions ask for the stores they use: `Pick<Stores, "state" | "turns">`. */
export type Stores = {
  storage: Storage;
  state: StateStore;
  turns: TurnStore;
  outbox: Outbox;
  deliveries: DeliveryStore;
  amendments: AmendmentStore;
};

/** Migrates the storage and opens its stores. After a rollback they read again, so memory never differs from disk. */
export function openStores(disk: Storage, now: () => number): Stores {
  migrate(disk, MIGRATIONS);
  const storage: Storage = {
    sql: disk.sql,
    transactionSync: (closure) => {
      try {
        return disk.transactionSync(closure);
      } catch (error) {
        for (const store of [state, turns, outbox]) store.reload();
        restoreSession({ state, turns, outbox });
        throw error;
      }
    },
  };
  const state = new StateStore(storage);
  const turns = new TurnStore(storage);
  const outbox = new Outbox(storage, state, now);
  restoreSession({ state, turns, outbox });
  const amendments = new AmendmentStore(storage);
  return { storage, state, turns, outbox, deliveries: new DeliveryStore(storage), amendments };
}

/** The session's times are stored with its newest entry and its pending turns, not in a row of their own (`StateStore.hold`). */
function restoreSession({ state, turns, outbox }: Pick<Stores, "state" | "turns" | "outbox">): void {
  const stored = state.get("session");
  if (stored === null) return;
  const entered = outbox.lastSession(stored.id) ?? stored;
  const newest = entered.lastMessageAt >= stored.lastMessageAt ? entered : stored;
  const said = turns.pendingInSession(stored.id).map(({ work }) => work?.saidAt ?? 0);
  state.hold("session", { ...newest, lastMessageAt: Math.max(newest.lastMessageAt, ...said) });
}

/** True when the tables hold nothing: a refused first call has only created them. */
export function isUnused({ storage }: Pick<Stores, "storage">): boolean {
  const tables = ["state", "turns", "entries", "recorded", "deliveries", "amendments"];
  // The platform's SQLite takes five terms of a UNION at most.
  const conditions = tables.map((table) => `EXISTS (SELECT 1 FROM ${table})`).join(" OR ");
  return storage.sql.exec(`SELECT 1 WHERE ${conditions}`).toArray().length === 0;
}
