import type { AddressKind } from "../../../src/domain/address.ts";
import type { ContactProfile } from "../../../src/domain/inbound-message.ts";
import type { InstanceBundle } from "../../../src/domain/instance.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Storage } from "../../runtime/storage.ts";

/** `assigned` to a conversation, or `released` by its last holder: then the address is a new one. */
export type Reassignment = { address: string; kind: "assigned" | "released" };

/** A conversation's key-value state. */
export type ConversationState = {
  /** Set by the first message; another brand or user is refused afterwards. */
  owner: { brandId: string; userId: string };
  session: Session;
  /** An ended session that the next ledger entry reports. */
  closed: { sessionId: string; expiredAt: number };
  /** The session ended through the API. A later message in it (a transcript) reopens it. */
  ended: { sessionId: string; expiredAt: number };
  /** Tombstones of erased sessions, kept for `TOMBSTONE_MS`. */
  erased: { sessionId: string; erasedAt: number }[];
  /** Identifies this life of the storage; positions of entries count from 1 in each. */
  generation: string;
  /** Postgres has the entries up to this position. Written by `Outbox.prune` only. */
  confirmedUpTo: number;
  /** Receipt of the newest unresolved webhook message: later messages get a later time. */
  lastSaidAt: number;
  /** `created_at` of the newest webhook message, by the channel's clock. */
  lastSentAt: number;
  /** The names the contact has given themselves, as of the last notice to Postgres. */
  profile: ContactProfile;
  /** Whether the contact stopped or resumed marketing messages, and when (epoch ms of the channel's clock). */
  marketing: { value: "stop" | "resume"; at: number };
  /** When the user last wrote, by the channel's clock. Opens the 24-hour service window. */
  lastHeardAt: number;
  /** The address of the contact's conversation: calls to this one are forwarded there, for ever. */
  forwardsTo: string;
  /** Where direct calls to this phone number's address go, when it has had another holder or conversation. */
  reassignedTo: Reassignment;
  /** Where direct calls went before. Messages that are delivered again are recognised there. */
  formerTargets: { address: string; until: number }[];
  /** What this address is made of. */
  addressKind: AddressKind;
  /** When the first message that is no system notice was stored here: the older conversation is the contact's. */
  foundedAt: number;
  /** Other addresses of the contact that this one has claimed. */
  aliases: string[];
  /** Addresses of phone numbers that forward direct calls here; released when the contact changes numbers. */
  numbers: string[];
  /** The instance as of the last message. Turns that outlive their caller run with it. */
  bundle: InstanceBundle;
};

/** State by name, read once per incarnation and written through on change. */
export class StateStore {
  readonly #storage: Storage;
  #json = new Map<keyof ConversationState, string>();
  #values: Partial<ConversationState> = {};

  constructor(storage: Storage) {
    this.#storage = storage;
    this.reload();
  }

  /** Reads the state from storage again, after a transaction was rolled back. */
  reload(): void {
    this.#json = new Map();
    this.#values = {};
    const rows = this.#storage.sql
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

  /** Parses the JSON of a value; returns the stored object itself when the JSON is equal. Stores nothing. */
  read<Name extends keyof ConversationState>(name: Name, json: string): ConversationState[Name] {
    const known = this.get(name);
    return known !== null && this.#json.get(name) === json ? known : (JSON.parse(json) as ConversationState[Name]);
  }

  set<Name extends keyof ConversationState>(name: Name, value: ConversationState[Name]): void {
    const json = JSON.stringify(value);
    if (this.#json.get(name) !== json) {
      this.#storage.sql.exec("INSERT OR REPLACE INTO state (name, value) VALUES (?, ?)", name, json);
      this.#json.set(name, json);
    }
    this.#values[name] = value;
  }

  /**
   * Sets a value in memory only, for a row of another table that is written in the same transaction and holds it too.
   * `persist` stores it before that row is deleted.
   */
  hold<Name extends keyof ConversationState>(name: Name, value: ConversationState[Name]): void {
    this.#values[name] = value;
  }

  /** Stores a value that is held in memory. */
  persist(name: keyof ConversationState): void {
    const value = this.get(name);
    if (value !== null) this.set(name, value);
  }

  remove(name: keyof ConversationState): void {
    if (!this.#json.has(name)) return;
    this.#storage.sql.exec("DELETE FROM state WHERE name = ?", name);
    this.#json.delete(name);
    delete this.#values[name];
  }
}
