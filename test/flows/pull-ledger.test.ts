import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, expect, onTestFinished } from "vitest";
import { StateStore } from "../../durable-objects/conversation/stores/state.ts";
import { Outbox } from "../../durable-objects/conversation/stores/outbox.ts";
import { MIGRATIONS } from "../../durable-objects/conversation/stores/schema.ts";
import { migrate } from "../../durable-objects/runtime/migrate.ts";
import { createUser } from "../../src/db/user-create.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { LedgerEntry, WrittenEntries } from "../../src/domain/ledger.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { consumeLedger } from "../../src/queues/ledger.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { answeredTurn, sessionOf } from "../support/entries.ts";
import { sqliteStorage } from "../support/sqlite-storage.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend(
    "written",
    { scope: "file" },
    ({ database }) =>
      async () =>
        (await database.query("select request_id, role from messages order by request_id, seq")).map(
          ({ request_id, role }) => `${request_id} ${role}`,
        ),
  )
  /** A database behind an endpoint that refuses requests with these turns. */
  .extend(
    "refusingDatabase",
    { scope: "file" },
    ({ database }) =>
      async (status: number, refuses: (turns: Set<string>) => boolean) => {
        const requests: number[] = [];
        const server = createServer(async (request, response) => {
          const body = (await request.toArray()).join("");
          const turns = new Set(body.match(/request \w+/g));
          requests.push(turns.size);
          if (refuses(turns)) return response.writeHead(status).end("too large");
          const answer = await fetch(database.endpoint, {
            method: "POST",
            headers: request.headers as HeadersInit,
            body,
          });
          return response.end(await answer.text());
        });
        await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
        onTestFinished(() => server.close().closeAllConnections());
        const { port } = server.address() as AddressInfo;
        const refusing = createTestDeps({ endpoint: `http://127.0.0.1:${port}/sql` });
        refusing.conversation = conversationAt;
        return { refusing, requests };
      },
  )
  /** A database that never comes to an end with a request in which more than so many turns are. */
  .extend("slowDatabase", { scope: "file" }, ({ database }) => async (most: number) => {
    const requests: number[] = [];
    const server = createServer(async (request, response) => {
      const body = (await request.toArray()).join("");
      const turns = new Set(body.match(/request \w+/g)).size;
      requests.push(turns);
      if (turns > most) return;
      const answer = await fetch(database.endpoint, { method: "POST", headers: request.headers as HeadersInit, body });
      response.end(await answer.text());
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => server.close().closeAllConnections());
    const { port } = server.address() as AddressInfo;
    const slow = createTestDeps({ endpoint: `http://127.0.0.1:${port}/sql`, deadlineMs: DEADLINE_MS });
    slow.conversation = conversationAt;
    return { slow, requests };
  });
let deps: TestDeps;
let userId: string;
let outboxes: Map<string, Outbox>;
/** Addresses whose object is away, by what it can't be asked. */
let away: Map<string, "pull" | "confirm">;

it.beforeEach(async ({ database }) => {
  await database.query("truncate users, dead_letters cascade");
  deps = createTestDeps({ endpoint: database.endpoint });
  deps.conversation = conversationAt;
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
  outboxes = new Map();
  away = new Map();
  database.forget();
});

/** The outbox of a conversation as its object has it, asked as an object is asked. */
function conversationAt(address: string): Conversation {
  const outbox = outboxes.get(address);
  if (outbox === undefined) throw new Error("No conversation there");
  const unreachable = (what: "pull" | "confirm") => {
    if (away.get(address) === what) throw new Error("The object is away");
  };
  return {
    pull: async (maxBytes: number) => {
      unreachable("pull");
      return outbox.pull(maxBytes);
    },
    confirm: async (written: WrittenEntries) => {
      unreachable("confirm");
      outbox.confirm(written);
      return { waiting: outbox.pendingCount() };
    },
  } as Conversation;
}

/** A conversation with these things said in it that Postgres doesn't know. */
function conversation(address: string, ...requestIds: string[]): { address: string; entries: LedgerEntry[] } {
  const storage = sqliteStorage();
  migrate(storage, MIGRATIONS);
  const outbox = new Outbox(storage, new StateStore(storage));
  const session = sessionOf(userId);
  const entries = requestIds.map((requestId, index) =>
    answeredTurn(session, { requestId, at: 2_000_000 + index * 10_000 }),
  );
  for (const entry of entries) outbox.add(entry);
  outboxes.set(address, outbox);
  return { address, entries };
}

const waiting = (address: string) => outboxes.get(address)?.pendingCount();

const both = (...requestIds: string[]) => requestIds.flatMap((id) => [`${id} user`, `${id} assistant`]);

describe("conversations that rang", () => {
  it("notified conversations are written in one transaction and drop what is written", async ({
    written,
    database,
  }) => {
    conversation("a", "a1", "a2");
    conversation("b", "b1");
    await pullLedger(deps, ["a", "b"]);
    expect(await written()).toEqual(both("a1", "a2", "b1"));
    expect(database.requests).toHaveLength(1);
    expect([waiting("a"), waiting("b")]).toEqual([0, 0]);
  });

  it("entries are written once, for repeated, reordered and concurrent notifications", async ({ written }) => {
    conversation("a", "a1", "a2");
    conversation("b", "b1", "b2");
    await Promise.all([pullLedger(deps, ["a", "b", "a"]), pullLedger(deps, ["b", "a"])]);
    await pullLedger(deps, ["b", "a"]);
    expect(await written()).toEqual(both("a1", "a2", "b1", "b2"));
  });

  it("an unavailable object delays no other conversation and keeps its entries", async ({ written }) => {
    conversation("a", "a1");
    conversation("b", "b1");
    away.set("a", "pull");
    await pullLedger(deps, ["a", "b"]);
    expect(await written()).toEqual(both("b1"));
    expect([waiting("a"), waiting("b")]).toEqual([1, 0]);
    away.clear();
    await pullLedger(deps, ["a"]);
    expect(await written()).toEqual(both("a1", "b1"));
  });

  it("unconfirmed entries are brought again and stored once", async ({ written }) => {
    conversation("a", "a1");
    away.set("a", "confirm");
    await pullLedger(deps, ["a"]);
    expect(waiting("a")).toBe(1);
    away.clear();
    await pullLedger(deps, ["a"]);
    expect(await written()).toEqual(both("a1"));
    expect(waiting("a")).toBe(0);
  });

  it("conversations keep their entries while Postgres is unreachable, and the notification is acknowledged", async () => {
    conversation("a", "a1");
    const nowhere = createTestDeps();
    nowhere.conversation = conversationAt;
    let acknowledged = false;
    const batch = { messages: [{ body: "a" }], ackAll: () => (acknowledged = true) } as unknown as MessageBatch;
    await consumeLedger(nowhere, batch);
    expect(acknowledged).toBe(true);
    expect(waiting("a")).toBe(1);
    expect(nowhere.lines.map(({ event }) => event)).toContain("ledger_write_failed");
  });
});

describe("conversations that have more to say than a database takes at once", () => {
  /** Three bytes a character, and as many quotes, which are escaped twice on their way. */
  const LONG = '語"'.repeat(30_000);

  it("a backlog beyond one request is written in portions, in order and complete", async ({ written, database }) => {
    const addresses = Array.from({ length: 60 }, (_, n) => `c${n}`);
    for (const address of addresses) {
      const storage = sqliteStorage();
      migrate(storage, MIGRATIONS);
      const outbox = new Outbox(storage, new StateStore(storage));
      const session = sessionOf(userId);
      for (const [index, requestId] of [`${address}-1`, `${address}-2`].entries()) {
        outbox.add(answeredTurn(session, { requestId, at: 2_000_000 + index * 10_000, metadata: { text: LONG } }));
      }
      outboxes.set(address, outbox);
    }
    await pullLedger(deps, addresses);
    expect(await written()).toHaveLength(60 * 2 * 2);
    expect(addresses.filter((address) => waiting(address) !== 0)).toEqual([]);
    expect(deps.lines.filter(({ level }) => level === "error")).toEqual([]);
    // More than one, and far fewer than one each.
    expect(database.requests.length).toBeGreaterThan(1);
    expect(database.requests.length).toBeLessThan(60);
  });
});

describe("a flood of short words in one conversation", () => {
  it("a flood of short messages in one conversation is written in requests that Postgres' endpoint takes", async ({
    database,
  }) => {
    const storage = sqliteStorage();
    migrate(storage, MIGRATIONS);
    const outbox = new Outbox(storage, new StateStore(storage));
    const session = sessionOf(userId);
    for (let entry = 0; entry < 120; entry += 1) {
      outbox.add({
        ...{ id: uuidv7(2_000_000), address: "a", session, closed: null, turn: null, usage: null },
        messages: Array.from({ length: 200 }, (_, index) => ({
          ...{
            id: uuidv7(2_000_000),
            role: "user" as const,
            content: "ok",
            createdAt: 2_000_000 + entry * 200 + index,
          },
          ...{ requestId: null, traceId: null, channelMessageId: null, metadata: {} },
        })),
      });
    }
    outboxes.set("a", outbox);
    await pullLedger(deps, ["a"]);
    expect(await database.query("select count(*) as n from messages")).toEqual([{ n: "24000" }]);
    expect(waiting("a")).toBe(0);
  });
});

describe("a request that is larger than the endpoint takes", () => {
  it.for([413, 507])(
    "a batch that the endpoint answers with %i is halved",
    async (status, { refusingDatabase, written }) => {
      conversation("a", "request a1", "request a2");
      const { refusing, requests } = await refusingDatabase(status, (turns) => turns.size > 1);
      await pullLedger(refusing, ["a"]);
      expect(requests).toEqual([2, 1, 1]);
      expect(await written()).toEqual(both("request a1", "request a2"));
    },
  );

  it("a single entry that is too large delays its own conversation and no other", async ({
    refusingDatabase,
    written,
  }) => {
    conversation("a", "request a1", "request a2");
    conversation("b", "request b1");
    const { refusing } = await refusingDatabase(413, (turns) => turns.has("request a1"));
    await expect(pullLedger(refusing, ["a", "b"])).rejects.toThrow("413");
    expect(await written()).toEqual(both("request b1"));
    expect([waiting("a"), waiting("b")]).toEqual([2, 0]);
  });
});

describe("an entry that can't be turned into rows", () => {
  it("an entry that can't be turned into rows delays its own conversation and no other", async ({ written }) => {
    conversation("a", "a1");
    const broken = conversation("b", "b1", "b2").entries[1];
    if (broken?.turn) broken.turn.requestId = "x".repeat(129);
    const storage = sqliteStorage();
    migrate(storage, MIGRATIONS);
    const outbox = new Outbox(storage, new StateStore(storage));
    if (broken) outbox.add(broken);
    outboxes.set("b", outbox);
    conversation("c", "c1");
    await expect(pullLedger(deps, ["a", "b", "c"])).rejects.toMatchObject({ code: "VALIDATION_ERROR" });
    expect(await written()).toEqual(both("a1", "c1"));
    expect([waiting("a"), waiting("b"), waiting("c")]).toEqual([0, 1, 0]);
  });
});

const DEADLINE_MS = 300;

describe("more than Postgres can do within its deadline", () => {
  const four = ["request a1", "request a2", "request a3", "request a4"];

  it("a batch that exceeds the deadline is halved until it is written, in order", async ({ slowDatabase, written }) => {
    conversation("a", ...four);
    const { slow, requests } = await slowDatabase(1);
    await pullLedger(slow, ["a"]);
    expect(requests).toEqual([4, 2, 1, 1, 2, 1, 1]);
    expect(await written()).toEqual(both(...four));
    expect(waiting("a")).toBe(0);
  });

  it("a single entry that exceeds the deadline is kept, and no dead letter is made", async ({
    slowDatabase,
    database,
  }) => {
    conversation("a", ...four);
    const { slow, requests } = await slowDatabase(0);
    await expect(pullLedger(slow, ["a"])).rejects.toThrow("TimeoutError");
    expect(requests).toEqual([4, 2, 1]);
    expect(waiting("a")).toBe(4);
    expect(await database.query("select id from dead_letters")).toEqual([]);
  });
});

describe("an entry that Postgres refuses for its content", () => {
  /** What no cleaning has seen: NUL and half of a pair are JSON, but no jsonb. */
  const poisoned = (entries: LedgerEntry[], index: number) => {
    const message = entries[index]?.messages[0];
    if (message) message.metadata = { text: "\u0000", "half \ud800": "of a pair \udc00" };
  };

  it("an entry that Postgres refuses becomes a dead letter with one log line, and its neighbours are written", async ({
    written,
    database,
  }) => {
    const storage = sqliteStorage();
    migrate(storage, MIGRATIONS);
    const outbox = new Outbox(storage, new StateStore(storage));
    const session = sessionOf(userId);
    const entries = ["a1", "a2", "a3"].map((requestId, index) =>
      answeredTurn(session, { requestId, at: 2_000_000 + index * 10_000 }),
    );
    poisoned(entries, 1);
    for (const entry of entries) outbox.add(entry);
    outboxes.set("a", outbox);
    conversation("b", "b1", "b2");

    await pullLedger(deps, ["b", "a"]);
    expect(await written()).toEqual(both("a1", "a3", "b1", "b2"));
    const failed = deps.lines.filter(({ event }) => event === "message_save_failed");
    expect(failed.map(({ request_id }) => request_id)).toEqual(["a2"]);
    const letters = await database.query("select id, reason from dead_letters");
    expect(letters).toEqual([{ id: entries[1]?.id, reason: "22P05" }]);
    expect([waiting("a"), waiting("b")]).toEqual([0, 0]);
  });
});

describe("somebody who was erased while their words waited to be written", () => {
  it("an erased user's refused entry is dropped, and only its ids are logged", async ({ database, written }) => {
    const { entries } = conversation("a", "a1");
    await database.query("delete from users where id = $1", [userId]);
    await pullLedger(deps, ["a"]);
    expect(await written()).toEqual([]);
    expect(await database.query("select id from dead_letters")).toEqual([]);
    expect(waiting("a")).toBe(0);
    const failed = deps.lines.filter(({ event }) => event === "message_save_failed");
    expect(failed).toMatchObject([{ entry_id: entries[0]?.id, reason: "23503" }]);
  });
});
