import type { InstanceBundle } from "../../../src/domain/instance.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";

/** The few things a conversation knows of itself. */
export type ConversationState = {
  /** Whose conversation this is. Set by the first message; nobody of another brand or name is let in after it. */
  owner: { brandId: string; userId: string };
  session: Session;
  /** A session that ended and that Postgres hasn't been told of. */
  closed: { sessionId: string; expiredAt: number };
  /** The session somebody has ended by hand: over unless something is said in it afterwards. */
  ended: { sessionId: string; expiredAt: number };
  /** Tombstones: sessions that were erased not long ago, and that nothing may bring back. */
  erased: { sessionId: string; erasedAt: number }[];
  /** The position up to which Postgres has the entries, as of the last time it was worth a write. */
  confirmedUpTo: number;
  /** The number of the newest session that began here (`sessionIdAt`). */
  lastSessionNumber: number;
  /** When the last message that waits to be prepared was said: the next is said later. */
  lastSaidAt: number;
  /** When the person last wrote, by the channel's clock: for 24 hours they may be written to freely. */
  lastHeardAt: number;
  /** Where this conversation is now: everything that comes here is passed on. */
  forwardsTo: string;
  /** Addresses that pass on to this one. */
  aliases: string[];
  /** The instance as the last message saw it: what a turn that outlived its caller is run with. */
  bundle: InstanceBundle;
};

/** Facts by name, read once per incarnation and written through when they change. */
export class StateStore {
  readonly #storage: Storage;
  readonly #json = new Map<keyof ConversationState, string>();
  readonly #values: Partial<ConversationState> = {};

  constructor(storage: Storage) {
    this.#storage = storage;
    const rows = storage.sql
      .exec<{ name: keyof ConversationState; value: string }>("SELECT name, value FROM state")
      .toArray();
    for (const { name, value } of rows) {
      this.#json.set(name, value);
      Object.assign(this.#values, { [name]: JSON.parse(value) });
    }
  }

  get<Name extends keyof ConversationState>(name: Name): ConversationState[Name] | null {
    return this.#values[name] ?? null;
  }

  /** The value this JSON is of; the very one that is known when nothing has changed. Nothing is kept. */
  read<Name extends keyof ConversationState>(name: Name, json: string): ConversationState[Name] {
    const known = this.get(name);
    return known !== null && this.#json.get(name) === json ? known : (JSON.parse(json) as ConversationState[Name]);
  }

  set<Name extends keyof ConversationState>(name: Name, value: ConversationState[Name]): void {
    const json = JSON.stringify(value);
    if (this.#json.get(name) === json) return;
    this.#json.set(name, json);
    this.#values[name] = value;
    this.#storage.sql.exec("INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", name, json);
  }

  remove(name: keyof ConversationState): void {
    if (!this.#json.delete(name)) return;
    delete this.#values[name];
    this.#storage.sql.exec("DELETE FROM state WHERE name = ?", name);
  }
}
