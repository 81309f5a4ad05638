import fc from "fast-check";
import { describe, expect } from "vitest";
import { writeEntries } from "../../src/db/ledger.ts";
import { quotedMessage } from "../../src/db/messages.ts";
import { createUser } from "../../src/db/user-create.ts";
import { writeNotices } from "../../src/db/notices.ts";
import { amend } from "../../src/domain/amendment.ts";
import { uuidv7 } from "../../src/domain/ids.ts";
import type { AmendmentNotice, ContactNotice } from "../../src/domain/ledger.ts";
import { formatIso } from "../../src/domain/time.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { answeredTurn, keyed, sessionOf } from "../support/entries.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";

const it = databaseTest().extend("deps", { scope: "file" }, ({ database }) =>
  createTestDeps({ endpoint: database.endpoint }),
);

/** Messages of a channel with different ids: what was written, by a user of their own. */
async function written(db: ReturnType<typeof createTestDeps>["db"], channelMessageId: string) {
  const user = { id: uuidv7(Date.now()), tier: "guest" as const };
  const person = { instanceId: INSTANCE.chat, brandId: ACME, channel: "api" as const, user };
  await createUser(db, addresses, { ...person, identifiers: [], metadata: { kept: true }, now: 1_000_000 });
  const metadata = {
    channel: "whatsapp",
    attachments: [{ type: "image", id: "77", caption: "old" }],
    whatsapp: { kind: "image", media: { id: "77" }, person: "p" },
  };
  const entry = answeredTurn(sessionOf(user.id), { requestId: channelMessageId });
  const said = { ...entry.messages[0]!, metadata, channelMessageId };
  await writeEntries(db, [await keyed({ ...entry, messages: [said, ...entry.messages.slice(1)] })]);
  return { userId: user.id, said };
}

const edit = (channelMessageId: string, at: number, content: string): AmendmentNotice => ({
  kind: "amendment",
  brandId: ACME,
  instanceId: INSTANCE.chat,
  channelMessageId,
  role: "user",
  at,
  edit: {
    content,
    metadata: { attachments: [{ type: "image", caption: content }], whatsapp: { kind: "image", raw: content } },
  },
  isBlanked: true,
});
const revocation = (channelMessageId: string, at: number, changes: Partial<AmendmentNotice> = {}): AmendmentNotice => ({
  ...edit(channelMessageId, at, ""),
  edit: null,
  ...changes,
});

describe("a message that is edited or revoked after Postgres has it", () => {
  it("an edited or revoked message becomes in Postgres what the object's history shows, in any order and batches", async ({
    database,
    deps: { db },
  }) => {
    let count = 0;
    const notices = fc
      .subarray(["e1", "e2", "e3", "r"] as const, { minLength: 1 })
      .chain((names) =>
        fc.record({ order: fc.shuffledSubarray(names, { minLength: names.length }), together: fc.boolean() }),
      );
    await fc.assert(
      fc.asyncProperty(notices, async ({ order, together }) => {
        const id = `wamid.${(count += 1)}`;
        const { said } = await written(db, id);
        const made = order.map((name) =>
          name === "r" ? revocation(id, 9_000) : edit(id, Number(name.slice(1)) * 1_000, `words of ${name}`),
        );
        if (together) await writeNotices(db, made);
        else for (const notice of made) await writeNotices(db, [notice]);
        await writeNotices(db, made);
        const expected = made.reduce((message, notice) => amend(message, notice, false), said);
        const [row] = await database.query("select content, metadata_json from messages where id = $1", [said.id]);
        expect(row?.content).toBe(expected.content);
        expect(JSON.parse(row?.metadata_json ?? "")).toEqual(JSON.parse(JSON.stringify(expected.metadata)));
      }),
      { numRuns: 30 },
    );
  });

  it("a revoked message keeps its content where the policy says so, and is marked", async ({
    database,
    deps: { db },
  }) => {
    const { said } = await written(db, "wamid.kept");
    await writeNotices(db, [revocation("wamid.kept", 9_000, { isBlanked: false })]);
    const [row] = await database.query("select content, metadata_json from messages where id = $1", [said.id]);
    expect(row?.content).toBe(said.content);
    expect(JSON.parse(row?.metadata_json ?? "")).toMatchObject({ revoked: { at: formatIso(9_000) }, whatsapp: {} });
  });

  it("a message is not edited or revoked by another brand, instance or sender", async ({ database, deps: { db } }) => {
    const { said } = await written(db, "wamid.safe");
    await writeNotices(db, [revocation("wamid.safe", 9_000, { brandId: GLOBEX })]);
    await writeNotices(db, [revocation("wamid.safe", 9_000, { instanceId: INSTANCE.whatsapp })]);
    await writeNotices(db, [revocation("wamid.safe", 9_000, { role: "assistant" })]);
    const [row] = await database.query("select content from messages where id = $1", [said.id]);
    expect(row?.content).toBe(said.content);
  });
});

describe("what a channel tells of its contact", () => {
  it("a contact's profile is merged into the user's metadata under the channel, in order", async ({
    database,
    deps: { db },
  }) => {
    const { userId } = await written(db, "wamid.contact");
    const told = (about: Record<string, unknown>, brandId = ACME): ContactNotice => ({
      kind: "contact",
      brandId,
      userId,
      channel: "whatsapp",
      about,
    });
    await writeNotices(db, [told({ profile: { name: "Ann" } }), told({ marketing: { value: "stop", at: 1 } })]);
    await writeNotices(db, [told({ profile: { name: "Anna" } }), told({ profile: { name: "Eve" } }, GLOBEX)]);
    await writeNotices(db, [told({ profile: { name: "Mallory" } }, GLOBEX)]);
    const [row] = await database.query("select metadata_json from users where id = $1", [userId]);
    expect(JSON.parse(row?.metadata_json ?? "")).toEqual({
      kept: true,
      whatsapp: { profile: { name: "Anna" }, marketing: { value: "stop", at: 1 } },
    });
  });
});

describe("a quoted message in Postgres", () => {
  it("a quoted message is found by the channel's id or by ours, for its own user only", async ({
    deps: { db, read },
  }) => {
    const { userId, said } = await written(db, "wamid.quoted");
    const owner = { brandId: ACME, userId };
    const found = { id: said.id, role: "user", content: said.content };
    const reference = { channelMessageId: "wamid.quoted", messageId: null };
    expect(await read(quotedMessage(owner, reference))).toEqual(found);
    expect(await read(quotedMessage(owner, { channelMessageId: "ours", messageId: said.id }))).toEqual(found);
    const { userId: stranger } = await written(db, "wamid.other");
    expect(await read(quotedMessage({ brandId: ACME, userId: stranger }, reference))).toBeNull();
    expect(await read(quotedMessage({ brandId: GLOBEX, userId }, reference))).toBeNull();
  });
});
