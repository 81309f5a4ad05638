import { describe, expect } from "vitest";
import { Outbox } from "../../durable-objects/conversation/stores/outbox.ts";
import { MIGRATIONS } from "../../durable-objects/conversation/stores/schema.ts";
import { StateStore } from "../../durable-objects/conversation/stores/state.ts";
import { migrate } from "../../durable-objects/runtime/migrate.ts";
import { eraseSession } from "../../src/db/erasure.ts";
import { createUser } from "../../src/db/user-create.ts";
import { entriesMessage, pendingMessage, pullMessage } from "../../src/domain/ledger-message.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { StoredEntry, WrittenEntries } from "../../src/domain/ledger.ts";
import { consumeLedger } from "../../src/queues/ledger.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import { addresses } from "../support/addresses.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { answeredTurn, sessionOf } from "../support/entries.ts";
import { databaseTest } from "../support/fixtures.ts";
import { sqliteStorage } from "../support/sqlite-storage.ts";

const it = databaseTest();

let deps: TestDeps;
let userId: string;
let outboxes: Map<string, Outbox>;
/** What conversations were asked, in order. */
let calls: string[];

it.beforeEach(async ({ database }) => {
  await database.query("truncate users, dead_letters cascade");
  deps = createTestDeps({ endpoint: database.endpoint });
  outboxes = new Map();
  calls = [];
  deps.conversation = (address) => {
    const outbox = outboxes.get(address);
    if (outbox === undefined) throw new Error("No conversation there");
    return {
      pull: async (maxBytes: number) => {
        calls.push(`pull ${address}`);
        return outbox.pull(maxBytes);
      },
      confirm: async (written: WrittenEntries) => {
        calls.push(`confirm ${address}`);
        outbox.confirm(written);
        return { waiting: outbox.pendingCount() };
      },
    } as Conversation;
  };
  userId = uuidv7(Date.now());
  await createUser(deps.db, addresses, {
    instanceId: INSTANCE.chat,
    brandId: ACME,
    channel: "api",
    user: { id: userId, tier: "guest" },
    identifiers: [],
    metadata: {},
    now: 1_000_000,
  });
  database.forget();
});

/** A conversation with answered turns whose entries travel with their answers. */
function conversation(address: string, ...requestIds: string[]) {
  const storage = sqliteStorage();
  migrate(storage, MIGRATIONS);
  const outbox = new Outbox(storage, new StateStore(storage));
  const session = sessionOf(userId);
  const carried = requestIds.map((requestId, index): StoredEntry => {
    const entry = answeredTurn(session, { requestId, at: 2_000_000 + index * 10_000 });
    return outbox.add({ ...entry, address });
  });
  outboxes.set(address, outbox);
  const pending = () => outbox.pendingEntries(address);
  return { outbox, carried, session, pending };
}

async function deliver(...bodies: unknown[]): Promise<{ acknowledged: boolean }> {
  let acknowledged = false;
  await consumeLedger(deps, {
    messages: bodies.map((body) => ({ body })),
    ackAll: () => (acknowledged = true),
  } as unknown as MessageBatch);
  return { acknowledged };
}

describe("entries that travel with their answers", () => {
  it("carried entries of several conversations are written in one transaction without a call to an object", async ({
    database,
  }) => {
    const [a, b] = [conversation("a", "a1", "a2"), conversation("b", "b1")];
    await deliver(entriesMessage([...a.carried, ...b.carried]));
    const rows = await database.query("select request_id from messages where role = 'assistant' order by request_id");
    expect(rows.map(({ request_id }) => request_id)).toEqual(["a1", "a2", "b1"]);
    expect([database.requests.length, calls]).toEqual([1, []]);
  });

  it("a conversation is told of its written entries with the next call that reaches it", async () => {
    const { outbox, carried } = conversation("a", "a1", "a2");
    await deliver(entriesMessage(carried));
    const written = deps.caches.writtenEntries.take("a");
    expect(written).toEqual({ generation: carried[0]?.generation, positions: [1, 2] });
    outbox.confirm(written!);
    expect([outbox.pendingCount(), deps.caches.writtenEntries.take("a")]).toEqual([0, null]);
  });

  it("a message that the queue delivers twice leaves every row once", async ({ database }) => {
    const { carried } = conversation("a", "a1");
    const message = entriesMessage(carried);
    await deliver(message, message);
    await deliver(message);
    expect(await database.query("select count(*)::int as n from messages")).toEqual([{ n: "2" }]);
    expect(await database.query("select count(*)::int as n from session_token_usage")).toEqual([{ n: "1" }]);
  });

  it("a carried entry of a session that was erased meanwhile is not written", async ({ database }) => {
    const { carried, session } = conversation("a", "a1", "a2");
    await deliver(entriesMessage(carried.slice(0, 1)));
    await eraseSession(deps.db, { sessionId: session.id, brandId: ACME, session });
    await deliver(entriesMessage(carried));
    expect(await database.query("select id from messages")).toEqual([]);
    expect(await database.query("select id from sessions where id = $1", [session.id])).toEqual([]);
  });

  it("carried entries that could not be written are logged, acknowledged and brought by their conversation", async ({
    database,
  }) => {
    const { carried, pending } = conversation("a", "a1");
    const reachable = deps.db;
    deps.db = createTestDeps({ endpoint: "http://127.0.0.1:1/sql" }).db;
    expect(await deliver(entriesMessage(carried))).toEqual({ acknowledged: true });
    expect(deps.lines).toContainEqual(expect.objectContaining({ event: "ledger_write_failed", entries: 1 }));
    deps.db = reachable;
    await deliver(pendingMessage(pending()!));
    expect(await database.query("select request_id from messages where role = 'user'")).toEqual([{ request_id: "a1" }]);
  });
});

describe("entries that a conversation looks up", () => {
  it("entries that Postgres has are confirmed from one query for all conversations, without a pull", async ({
    database,
  }) => {
    const [a, b] = [conversation("a", "a1"), conversation("b", "b1")];
    await deliver(entriesMessage([...a.carried, ...b.carried]));
    database.forget();
    await deliver(pendingMessage(a.pending()!), pendingMessage(b.pending()!));
    expect([a.outbox.pendingCount(), b.outbox.pendingCount()]).toEqual([0, 0]);
    expect(calls.toSorted()).toEqual(["confirm a", "confirm b"]);
    expect(database.requests).toHaveLength(1);
  });

  it("a conversation with an entry that Postgres lacks is pulled", async ({ database }) => {
    const { outbox, carried, pending } = conversation("a", "a1", "a2");
    await deliver(entriesMessage(carried.slice(0, 1)));
    await deliver(pendingMessage(pending()!));
    expect(await database.query("select request_id from messages where role = 'user' order by 1")).toEqual([
      { request_id: "a1" },
      { request_id: "a2" },
    ]);
    expect([outbox.pendingCount(), calls]).toEqual([0, ["pull a", "confirm a"]]);
  });

  it("a notice, which no row proves, is pulled", async () => {
    const { outbox, pending } = conversation("a");
    outbox.addNotice({ kind: "delivery", brandId: ACME, messageId: uuidv7(1), delivery: { state: "sent", ids: [] } });
    await deliver(pendingMessage(pending()!));
    expect([outbox.pendingCount(), calls]).toEqual([0, ["pull a", "confirm a"]]);
  });
});

describe("messages of the ledger's queue", () => {
  it.for([
    ["an announcement", pullMessage("a")],
    ["a bare address, which the version before sent", "a"],
  ])("%s makes the conversation be pulled", async ([, body]) => {
    const { outbox } = conversation("a", "a1");
    await deliver(body);
    expect([outbox.pendingCount(), calls]).toEqual([0, ["pull a", "confirm a"]]);
  });

  it("a message that can't be read is logged, and its neighbours are processed", async () => {
    const { outbox } = conversation("a", "a1");
    expect(await deliver('{"kind":', { nested: true }, '{"kind":"unheard of"}', pullMessage("a"))).toEqual({
      acknowledged: true,
    });
    expect(deps.lines.filter(({ event }) => event === "ledger_message_invalid")).toHaveLength(3);
    expect(outbox.pendingCount()).toBe(0);
  });
});
