import { expect } from "vitest";
import { StateStore } from "../../durable-objects/conversation/stores/state.ts";
import { Outbox } from "../../durable-objects/conversation/stores/outbox.ts";
import { MIGRATIONS } from "../../durable-objects/conversation/stores/schema.ts";
import { migrate } from "../../durable-objects/runtime/migrate.ts";
import { createUser } from "../../src/db/user-create.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import type { TestDeps } from "../support/deps.ts";
import { answeredTurn, letter, sessionOf } from "../support/entries.ts";
import { sqliteStorage } from "../support/sqlite-storage.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const it = databaseTest();
let deps: TestDeps;
let outbox: Outbox;

it.beforeEach(async ({ database }) => {
  await database.query("truncate users, dead_letters cascade");
  const storage = sqliteStorage();
  migrate(storage, MIGRATIONS);
  outbox = new Outbox(storage, new StateStore(storage));
  deps = createTestDeps({ endpoint: database.endpoint });
  deps.conversation = () =>
    ({
      pull: async (maxBytes) => outbox.pull(maxBytes),
      confirm: async (upTo) => {
        outbox.confirm(upTo);
        return { waiting: outbox.pendingCount() };
      },
    }) as Conversation;
  database.forget();
});

it("a delivery state in the same pull as its turn is written after it and keeps the content", async ({ database }) => {
  const user = { id: uuidv7(Date.now()), tier: "guest" as const };
  const person = { instanceId: INSTANCE.chat, brandId: ACME, channel: "api" as const, user };
  await createUser(deps.db, addresses, { ...person, identifiers: [], metadata: {}, now: 1_000_000 });
  const session = sessionOf(user.id);
  const entry = answeredTurn(session);
  const messageId = entry.messages[1]!.id;
  outbox.add(entry);
  for (const state of ["queued", "sent", "delivered", "read"] as const) {
    outbox.addNotice({ kind: "delivery", brandId: ACME, messageId, delivery: { state, ids: [] } });
  }
  for (let index = 0; index < 30; index += 1) outbox.addNotice(letter(uuidv7(index)));
  await pullLedger(deps, ["somewhere"]);
  const [row] = await database.query("select metadata_json from messages where id = $1", [messageId]);
  expect(JSON.parse(row!.metadata_json!).delivery.state).toBe("read");
  expect(outbox.pendingCount()).toBe(0);
  expect(outbox.history(session.id).map(({ content }) => content)).toEqual(["Hello", "Hi"]);
});

it("a delivery state that Postgres refuses is logged, and its neighbours are written", async ({ database }) => {
  const [one, two] = [uuidv7(1), uuidv7(2)];
  for (const id of [one, "no id", two]) outbox.addNotice(letter(id));
  await pullLedger(deps, ["somewhere"]);
  expect((await database.query("select id from dead_letters order by id")).map(({ id }) => id)).toEqual([one, two]);
  expect(deps.lines).toContainEqual(
    expect.objectContaining({ level: "error", event: "notice_refused", kind: "dead_letter", reason: "22P02" }),
  );
  expect(outbox.pendingCount()).toBe(0);
});

it("the ledger sends no request when there is nothing to write", async ({ database }) => {
  await pullLedger(deps, ["somewhere"]);
  expect(database.requests.length).toBe(0);
});
