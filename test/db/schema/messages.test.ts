import { randomUUID } from "node:crypto";
import { eq } from "drizzle-orm";
import { describe, expect } from "vitest";
import { connect } from "../../../src/db/client.ts";
import { sqlState } from "../../../src/db/errors.ts";
import { users } from "../../../src/db/schema/people.ts";
import { messages, sessions } from "../../../src/db/schema/conversations.ts";
import { ACME, INSTANCE } from "../../support/demo.ts";
import { databaseTest } from "../../support/fixtures.ts";

const it = databaseTest()
  .extend("db", { scope: "file" }, ({ database }) =>
    connect({ databaseUrl: database.connectionString, endpoint: database.endpoint, deadlineMs: 10_000 }),
  )
  .extend("insert", { scope: "file" }, ({ db }) => async (otherwise: Partial<typeof messages.$inferInsert> = {}) => {
    const [row] = await db.insert(messages).values(message(otherwise)).returning();
    if (row === undefined) throw new Error("Nothing was inserted");
    return row;
  })
  .extend(
    "kept",
    { scope: "file" },
    ({ db }) =>
      () =>
        db.select().from(messages).where(eq(messages.sessionId, sessionId)),
  );
let userId: string;
let sessionId: string;

it.beforeEach(async ({ db }) => {
  [userId, sessionId] = [randomUUID(), randomUUID()];
  await db.insert(users).values({ id: userId, brandId: ACME, tier: "standard" });
  const place = { brandId: ACME, instanceId: INSTANCE.chat, userId, channel: "api", address: "x" } as const;
  await db.insert(sessions).values({ id: sessionId, ...place });
});

/** A message with what it must have, and what the test wants otherwise. */
const message = (otherwise: Partial<typeof messages.$inferInsert> = {}): typeof messages.$inferInsert => ({
  brandId: ACME,
  sessionId,
  instanceId: INSTANCE.chat,
  userId,
  role: "user",
  content: "Hello",
  seq: 1,
  ...otherwise,
});

/** The SQLSTATE with which Postgres refuses it. */
const refusal = (work: PromiseLike<unknown>) => Promise.resolve(work).then(() => "taken", sqlState);

describe("a message", () => {
  it("a message needs only its place, role and content, and the rest has defaults [5.1-UNIT-001]", async ({
    insert,
  }) => {
    expect(await insert()).toEqual({
      ...message(),
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      turnId: null,
      requestId: null,
      traceId: null,
      channelMessageId: null,
      processed: false,
      metadataJson: {},
      createdAt: expect.any(Number),
      updatedAt: expect.any(Number),
    });
  });

  it("a message is read as it was written [5.1-INT-001]", async ({ insert, kept }) => {
    const content = "Grüße, 世界 👨‍👩‍👧\n\t'\"; drop table messages; --";
    const createdAt = Date.parse("2026-01-02T03:04:05.678Z");
    const { id } = await insert({ content, createdAt, requestId: "r", traceId: "t" });
    expect(await kept()).toMatchObject([{ id, content, createdAt, requestId: "r", traceId: "t" }]);
  });

  it.for([
    ["a role that nobody has", { role: "robot" }, "23514"],
    ["no role", { role: null }, "23502"],
    ["no content", { content: null }, "23502"],
    ["a place in line that is no number", { seq: "first" }, "22P02"],
    ["an id that is none", { id: "7" }, "22P02"],
    ["a list for its metadata", { metadataJson: [] }, "23514"],
    ["no metadata at all", { metadataJson: null }, "23502"],
    ["a word for whether it was answered", { processed: "perhaps" }, "22P02"],
    ["a NUL in its text", { content: "a\0b" }, "22021"],
  ] as const)("a message with %s is refused [5.1-UNIT-002]", async ([, wrong, state], { db }) => {
    expect(await refusal(db.insert(messages).values(message(wrong as Partial<typeof messages.$inferInsert>)))).toBe(
      state,
    );
  });

  it("the metadata of a message is kept at any depth [5.1-INT-002]", async ({ insert, kept, database }) => {
    const metadataJson = { text: 'ü "\\', number: 1.5, list: [1, null, { a: true }], empty: {}, nothing: null };
    await insert({ metadataJson });
    const [row] = await kept();
    expect(row?.metadataJson).toEqual(metadataJson);
    const asJson = await database.query(
      "select metadata_json->'list'->2->>'a' as a from messages where session_id = $1",
      [sessionId],
    );
    expect(asJson).toEqual([{ a: "true" }]);
  });

  it("a message refers to its session by a foreign key [5.1-INT-004]", async ({ database }) => {
    const keys = await database.query(
      `select a.attname as column, c.confrelid::regclass::text as target, c.confdeltype as on_delete
       from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = c.conkey[1]
       where c.conrelid = 'messages'::regclass and c.contype = 'f' and a.attname in ('session_id', 'user_id') order by 1`,
    );
    expect(keys).toEqual([
      { column: "session_id", target: "sessions", on_delete: "c" },
      { column: "user_id", target: "users", on_delete: "n" },
    ]);
  });

  it("a message of a missing session is refused [5.1-INT-009]", async ({ db }) => {
    expect(await refusal(db.insert(messages).values(message({ sessionId: randomUUID() })))).toBe("23503");
  });

  it("an index serves the messages of a session, newest first [5.1-INT-005]", async ({ database }) => {
    const [index] = await database.query("select indexdef from pg_indexes where indexname = 'messages_page'");
    expect(index?.["indexdef"]).toMatch(
      /ON public\.messages USING btree \(session_id, created_at DESC[^,]*, seq DESC[^,]*\)$/,
    );
  });

  it("a session's deletion deletes its messages and no others [5.1-INT-010]", async ({ insert, db, kept }) => {
    await insert();
    const other = randomUUID();
    const place = { brandId: ACME, instanceId: INSTANCE.chat, userId, channel: "api", address: "y" } as const;
    await db.insert(sessions).values({ id: other, ...place });
    await insert({ sessionId: other });
    await db.delete(sessions).where(eq(sessions.id, sessionId));
    expect(await kept()).toEqual([]);
    expect(await db.select().from(messages).where(eq(messages.sessionId, other))).toHaveLength(1);
  });

  it("a deleted user's message in another session is kept without the user", async ({ db, insert, kept }) => {
    const helper = randomUUID();
    await db.insert(users).values({ id: helper, brandId: ACME, tier: "standard" });
    await insert({ userId: helper });
    await db.delete(users).where(eq(users.id, helper));
    expect(await kept()).toMatchObject([{ userId: null, content: "Hello" }]);
  });
});
