import { describe, expect } from "vitest";
import { writeEntries } from "../../src/db/ledger.ts";
import { createUser } from "../../src/db/user-create.ts";
import { writeNotices } from "../../src/db/notices.ts";
import type { DeliveryState } from "../../src/domain/delivery.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { LedgerNotice } from "../../src/domain/ledger.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { answeredTurn, keyed, letter, sessionOf } from "../support/entries.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const it = databaseTest()
  .extend("db", { scope: "file" }, ({ database }) => createTestDeps({ endpoint: database.endpoint }).db)
  .extend("metadata", { scope: "file" }, ({ database }) => async () => {
    const [row] = await database.query("select metadata_json from messages where id = $1", [messageId]);
    return JSON.parse(row!.metadata_json!);
  });
let messageId: string;

it.beforeEach(async ({ database, db }) => {
  await database.query("truncate users, dead_letters cascade");
  const user = { id: uuidv7(Date.now()), tier: "guest" as const };
  const person = { instanceId: INSTANCE.chat, brandId: ACME, channel: "api" as const, user };
  await createUser(db, addresses, { ...person, identifiers: [], metadata: {}, now: 1_000_000 });
  const entry = answeredTurn(sessionOf(user.id), { metadata: { kept: "as it is" } });
  await writeEntries(db, [await keyed(entry)]);
  messageId = entry.messages[1]!.id;
});

const news = (
  state: DeliveryState,
  changes: Partial<Extract<LedgerNotice, { kind: "delivery" }>> = {},
): LedgerNotice => ({
  kind: "delivery",
  brandId: ACME,
  messageId,
  delivery: { state, ids: ["wamid.1"] },
  ...changes,
});

describe("a message's delivery in Postgres", () => {
  it("a delivery state is stored in the message's metadata beside the other keys", async ({ db, metadata }) => {
    await writeNotices(db, [news("sent")]);
    expect(await metadata()).toMatchObject({ kept: "as it is", delivery: { state: "sent", ids: ["wamid.1"] } });
  });

  it("a delivery state only advances, in one batch and in several", async ({ db, metadata }) => {
    await writeNotices(db, [news("queued"), news("sent"), news("delivered")]);
    expect((await metadata()).delivery.state).toBe("delivered");
    await writeNotices(db, [news("sent")]);
    await writeNotices(db, [news("failed")]);
    expect((await metadata()).delivery.state).toBe("delivered");
    await writeNotices(db, [news("read"), news("read")]);
    expect((await metadata()).delivery.state).toBe("read");
  });

  it("a delivery state is not changed by another brand", async ({ db, metadata }) => {
    await writeNotices(db, [news("read", { brandId: GLOBEX })]);
    expect(await metadata()).not.toHaveProperty("delivery");
  });
});

describe("a letter about what belongs to nobody", () => {
  it("a dead letter without an owner is stored once", async ({ db, database }) => {
    const id = uuidv7(1);
    await writeNotices(db, [letter(id, { message: "a" }), news("sent")]);
    await writeNotices(db, [letter(id, { message: "a" })]);
    const rows = await database.query("select id, source, reason, address, brand_id, payload_json from dead_letters");
    expect(rows).toEqual([
      {
        id,
        source: "whatsapp",
        reason: "no_instance",
        address: "somewhere",
        brand_id: null,
        payload_json: '{"message": "a"}',
      },
    ]);
  });

  it("a dead letter is stored without the characters that Postgres refuses", async ({ db, database }) => {
    await writeNotices(db, [letter(uuidv7(1), { message: "a\u0000b\ud800" })]);
    expect(await database.query("select 1 from dead_letters")).toHaveLength(1);
  });
});
