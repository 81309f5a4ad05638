import { beforeEach, describe, expect, it } from "vitest";
import { StateStore } from "../../../../durable-objects/conversation/stores/state.ts";
import { Outbox } from "../../../../durable-objects/conversation/stores/outbox.ts";
import { MIGRATIONS } from "../../../../durable-objects/conversation/stores/schema.ts";
import { migrate } from "../../../../durable-objects/runtime/migrate.ts";
import type { NewEntry } from "../../../../src/domain/ledger.ts";
import { sqliteStorage } from "../../../support/sqlite-storage.ts";

let storage = sqliteStorage();
/** A new incarnation over what the last one has written. */
const wake = () => new Outbox(storage, new StateStore(storage));
let outbox: Outbox;

beforeEach(() => {
  storage = sqliteStorage();
  migrate(storage, MIGRATIONS);
  outbox = wake();
});

const entry = (content: string, session = "s"): NewEntry => ({
  id: content,
  address: "address",
  session: {
    ...{ id: session, brandId: "b", instanceId: "i", userId: "u", channel: "api", tokenPlan: null },
    ...{ startedAt: 0, lastMessageAt: 0, lastAssistantMessageAt: null },
  },
  closed: null,
  turn: null,
  messages: [
    {
      ...{ id: content, role: "user", content, createdAt: 0, requestId: content, traceId: "t" },
      ...{ channelMessageId: null, metadata: {} },
    },
  ],
  usage: null,
});
const add = (...contents: string[]) => contents.forEach((content) => outbox.add(entry(content)));
const brought = () => outbox.pull(1_000_000).entries.map(({ id, messages }) => [id, ...messages.map(({ seq }) => seq)]);
const told = (session = "s") => outbox.history(session).map(({ content }) => content);

describe("what waits for Postgres", () => {
  it("an object that crashed before the confirmation brings the same entries again", () => {
    add("one", "two");
    const first = brought();
    outbox.confirm(outbox.pull(1_000_000));
    expect(brought()).toEqual([]);
    outbox = wake();
    expect(brought()).toEqual(first);
  });

  it("confirmed entries are not pulled again and later ones are", () => {
    add("one", "two");
    outbox.confirm(outbox.pull(1_000_000));
    add("three");
    outbox.prune();
    outbox = wake();
    expect(brought().map(([id]) => id)).toEqual(["three"]);
  });

  it("an entry is not confirmed by the number of an earlier pull", () => {
    add("one");
    const pulled = outbox.pull(1_000_000);
    add("two");
    outbox.confirm(pulled);
    expect(brought().map(([id]) => id)).toEqual(["two"]);
  });

  it("an entry is not confirmed by a pull from before the storage was emptied", () => {
    add("before");
    const late = outbox.pull(1_000_000);
    storage = sqliteStorage();
    migrate(storage, MIGRATIONS);
    outbox = wake();
    add("one");
    outbox.confirm(late);
    expect(brought().map(([id]) => id)).toEqual(["one"]);
  });
});

describe("what the model is told was said before", () => {
  it("the history is the same from memory and from storage", () => {
    const all = Array.from({ length: 50 }, (_, number) => `word ${number}`);
    for (const word of all) {
      add(word);
      if (word.endsWith("3")) outbox.confirm(outbox.pull(1_000_000));
      if (word.endsWith("7")) outbox.prune();
      expect(told()).toEqual(
        wake()
          .history("s")
          .map(({ content }) => content),
      );
    }
    expect(told()).toEqual(all.slice(-20));
  });

  it("the history holds one session, whichever was read before", () => {
    add("one");
    outbox.add(entry("elsewhere", "other"));
    expect([told(), told("other"), told()]).toEqual([["one"], ["elsewhere"], ["one"]]);
  });

  it("the history of an ended session is empty", () => {
    add("one");
    expect(told()).toEqual(["one"]);
    outbox.confirm(outbox.pull(1_000_000));
    outbox.forgetHistory();
    expect(told()).toEqual([]);
  });
});
