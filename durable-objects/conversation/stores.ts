import { migrate } from "../runtime/migrate.ts";
import type { Storage } from "../runtime/storage.ts";
import { DeliveryStore } from "./stores/deliveries.ts";
import { Outbox } from "./stores/outbox.ts";
import { MIGRATIONS } from "./stores/schema.ts";
import { StateStore } from "./stores/state.ts";
import { TurnStore } from "./stores/turns.ts";

/** Everything a conversation has on its disk. Functions ask for the stores they use: `Pick<Stores, "state" | "turns">`. */
export type Stores = {
  storage: Storage;
  state: StateStore;
  turns: TurnStore;
  outbox: Outbox;
  deliveries: DeliveryStore;
};

/** Migrates the storage and opens its stores. */
export function openStores(storage: Storage, now: () => number): Stores {
  migrate(storage, MIGRATIONS);
  const state = new StateStore(storage);
  return {
    storage,
    state,
    turns: new TurnStore(storage),
    outbox: new Outbox(storage, state, now),
    deliveries: new DeliveryStore(storage),
  };
}
