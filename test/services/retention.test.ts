import { describe, expect } from "vitest";
import { cleanExpiredSessions, applyRetention } from "../../src/services/retention.ts";
import type { Conversation } from "../../src/rpc/conversation.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const DAY_MS = 86_400_000;

const it = databaseTest()
  .extend("deps", { scope: "file" }, ({ database }) => {
    const deps = createTestDeps({ endpoint: database.endpoint, now: () => NOW });
    deps.conversation = (address) => objects.at(address);
    return deps;
  })
  /** A session with a message, last used so many days ago; ended by hand if it is said when. */
  .extend(
    "session",
    { scope: "file" },
    ({ database }) =>
      async (name: string, quiet: number, { ended = null as number | null, brandId = ACME } = {}): Promise<void> => {
        await database.query(
          `with person as (insert into users (brand_id, tier) values ($1, 'guest') returning id),
       session as (
         insert into sessions (brand_id, instance_id, user_id, channel, address, started_at, last_message_at, expired_at)
         select $1, $2, id, 'api', $3, $4::timestamptz - interval '1 hour', $4, $5 from person returning *)
     insert into messages (brand_id, session_id, instance_id, role, content, seq)
     select brand_id, id, instance_id, 'user', $3, 1 from session`,
          [
            brandId,
            brandId === ACME ? INSTANCE.chat : INSTANCE.globex,
            name,
            iso(quiet),
            ended === null ? null : iso(ended),
          ],
        );
      },
  )
  /** Whose sessions, and whose words, are left. */
  .extend("left", { scope: "file" }, ({ database }) => async () => {
    const rows = await database.query("select address from sessions order by address");
    const words = await database.query("select content from messages order by content");
    expect(words.map(({ content }) => content)).toEqual(rows.map(({ address }) => address));
    return rows.map(({ address }) => address);
  })
  .extend(
    "clean",
    { scope: "file" },
    ({ deps }) =>
      (changes: Partial<Parameters<typeof cleanExpiredSessions>[1]> = {}) =>
        cleanExpiredSessions(deps, { brandId: ACME, olderThanDays: 30, batchSize: 100, ...changes }),
  );
it.beforeEach(async ({ database, deps }) => {
  deps.lines.length = 0;
  await database.query("truncate users, erased_sessions cascade");
  await database.query("truncate dead_letters");
  await database.query("update brands set retention_days = null");
  objects.pending.clear();
  objects.broken.clear();
  objects.erased = [];
});

/** The objects of the sessions: blank, unless a test says that one has unwritten messages or can't be reached. */
const objects = {
  pending: new Set<string>(),
  broken: new Set<string>(),
  erased: [] as string[],
  at: (address: string) =>
    ({
      unsaved: async () =>
        objects.pending.has(address) ? { kind: "unsaved", messages: [{}], usage: [] } : { kind: "unknown" },
      erase: async () => {
        if (objects.broken.has(address)) throw new Error("The object can't be reached");
        objects.erased.push(address);
        return { kind: "unknown" };
      },
    }) as unknown as Conversation,
};

const iso = (daysAgo: number): string => new Date(NOW - daysAgo * DAY_MS).toISOString();

describe("sessions that ended long ago", () => {
  it.for([0, 0.5, -1, Number.NaN])("a retention of %d days is refused [C3.4.1]", async (olderThanDays, { clean }) => {
    await expect(clean({ olderThanDays })).rejects.toMatchObject({
      code: "VALIDATION_ERROR",
      details: { fields: [{ field: "older_than_days" }] },
    });
  });

  it.for([0, -1, Number.NaN])(
    "a deletion of %d sessions at a time is refused [C3.4.2]",
    async (batchSize, { clean }) => {
      await expect(clean({ batchSize })).rejects.toMatchObject({
        code: "VALIDATION_ERROR",
        details: { fields: [{ field: "batch_size" }] },
      });
    },
  );

  it("expired sessions are deleted with their messages, and later or open ones stay [C3.4.3]", async ({
    session,
    clean,
    left,
  }) => {
    await session("ended by itself", 31);
    await session("ended by hand", 40, { ended: 31 });
    await session("ended by hand since", 40, { ended: 29 });
    await session("quiet since", 29);
    await session("another brand's", 31, { brandId: GLOBEX });
    await clean();
    expect(await left()).toEqual(["another brand's", "ended by hand since", "quiet since"]);
  });

  it("a session within its instance's timeout is not deleted", async ({ database, session, clean, left }) => {
    await database.query("update instance_configs set session_timeout_minutes = $1 where instance_id = $2", [
      String(60 * 24 * 60),
      INSTANCE.chat,
    ]);
    await session("quiet for 80 days", 80);
    await session("quiet for 100 days", 100);
    await clean();
    expect(await left()).toEqual(["quiet for 80 days"]);
    await database.query("update instance_configs set session_timeout_minutes = null");
  });

  it("deleted sessions are counted, oldest first, up to the limit [C3.4.4]", async ({ session, clean, left }) => {
    for (const days of [31, 32, 33]) await session(`${days} days`, days);
    expect(await clean({ batchSize: 2 })).toBe(2);
    expect(await left()).toEqual(["31 days"]);
    expect(await clean({ batchSize: 2 })).toBe(1);
  });

  it("no deleted session is reported when none has expired [C3.4.5]", async ({ session, clean }) => {
    await session("yesterday's", 1);
    expect(await clean()).toBe(0);
  });
});

describe("what goes with a session", () => {
  it("an expired session is erased in its object too, unless it has unwritten messages or can't be reached", async ({
    session,
    clean,
    left,
  }) => {
    for (const name of ["blank", "pending", "broken"]) await session(name, 31);
    objects.pending.add("pending");
    objects.broken.add("broken");
    expect(await clean()).toBe(1);
    expect([await left(), objects.erased]).toEqual([["broken", "pending"], ["blank"]]);
  });

  it("a guest's unverified phone and e-mail are deleted with their last session", async ({
    database,
    session,
    clean,
  }) => {
    for (const name of ["only", "first of two"]) await session(name, 31);
    await database.query(`update users set metadata_json = '{"email": "a@b.co"}'`);
    await database.query(
      `insert into sessions (brand_id, instance_id, user_id, channel, address)
       select brand_id, instance_id, user_id, channel, 'second of two' from sessions where address = 'first of two'`,
    );
    await clean();
    const rows = await database.query(
      "select u.metadata_json, s.address from users u left join sessions s on s.user_id = u.id order by s.address",
    );
    expect(rows).toEqual([
      { metadata_json: '{"email": "a@b.co"}', address: "second of two" },
      { metadata_json: "{}", address: null },
    ]);
  });
});

describe("a round of the clock", () => {
  it("a brand's invalid retention period does not affect other brands", async ({ database, session, deps, left }) => {
    await expect(database.query("update brands set retention_days = 0")).rejects.toThrow("brands_retention_days");
    await database.query("alter table brands drop constraint brands_retention_days");
    await database.query("update brands set retention_days = case id when $1 then 0 else 7 end", [ACME]);
    for (const brandId of [ACME, GLOBEX]) await session(brandId, 8, { brandId });
    await applyRetention(deps);
    expect(await left()).toEqual([ACME]);
    expect(deps.lines.filter(({ event }) => event === "retention_failed")).toMatchObject([{ brand_id: ACME }]);
  });

  it("dead letters and guests without a session are deleted after their brand's retention period", async ({
    database,
    session,
    deps,
  }) => {
    await database.query("update brands set retention_days = 7 where id = $1", [ACME]);
    for (const [brandId, days] of [
      [ACME, 8],
      [ACME, 6],
      [GLOBEX, 400],
      [null, 89],
      [null, 91],
    ] as const) {
      await database.query(
        "insert into dead_letters (brand_id, source, reason, created_at) values ($1, 'whatsapp', $2, $3)",
        [brandId, `${brandId} ${days}`, iso(days)],
      );
    }
    for (const [brandId, tier, days] of [
      [ACME, "guest", 8],
      [ACME, "guest", 6],
      [ACME, "standard", 8],
      [GLOBEX, "guest", 8],
    ] as const) {
      await database.query("insert into users (brand_id, tier, metadata_json, created_at) values ($1, $2, $3, $4)", [
        ...[brandId, tier, JSON.stringify({ name: `${brandId} ${tier} ${days}` }), iso(days)],
      ]);
    }
    await session("in use", 1);
    await database.query("update users set created_at = $1 where metadata_json = '{}'", [iso(8)]);
    await applyRetention(deps);
    const letters = await database.query("select reason from dead_letters order by reason");
    expect(letters.map(({ reason }) => reason)).toEqual([`${ACME} 6`, `${GLOBEX} 400`, "null 89"]);
    const users = await database.query("select metadata_json ->> 'name' as name from users order by name");
    expect(users.map(({ name }) => name)).toEqual([`${ACME} guest 6`, `${ACME} standard 8`, `${GLOBEX} guest 8`, null]);
  });

  it("a scheduled run deletes the old sessions of brands with a retention only", async ({
    database,
    session,
    deps,
    left,
  }) => {
    await database.query("update brands set retention_days = 7 where id = $1", [ACME]);
    for (const brandId of [ACME, GLOBEX]) {
      for (const days of [6, 8, 400]) await session(`${brandId} ${days}`, days, { brandId });
    }
    await applyRetention(deps);
    expect(await left()).toEqual([`${ACME} 6`, `${GLOBEX} 400`, `${GLOBEX} 6`, `${GLOBEX} 8`]);
  });

  it("a scheduled run deletes expired request ids and old tombstones, and reports the numbers", async ({
    session,
    database,
    deps,
  }) => {
    await session("a", 0);
    await database.query(
      `insert into idempotency_locks (request_id, brand_id, session_id, turn_id, fence, locked_at, expires_at)
       select n::text, s.brand_id, s.id, gen_random_uuid(), 1, $1, $1::timestamptz + n * interval '1 second'
       from sessions s, generate_series(-1200, 1) n`,
      [iso(0)],
    );
    await database.query(
      "insert into erased_sessions (session_id, brand_id, created_at) select gen_random_uuid(), $1, at::timestamptz from unnest($2::text[]) at",
      [ACME, `{${iso(31)},${iso(29)}}`],
    );
    await applyRetention(deps);
    const count = async (table: string) => (await database.query(`select count(*) as n from ${table}`))[0]?.["n"];
    expect([await count("idempotency_locks"), await count("erased_sessions")]).toEqual(["1", "1"]);
    expect(deps.lines.findLast(({ event }) => event === "retention_applied")).toMatchObject({
      locks: 1201,
      tombstones: 1,
      sessions: 0,
    });
  });
});
