import { describe, expect } from "vitest";
import { cleanExpiredSessions, applyRetention } from "../../src/services/retention.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const DAY_MS = 86_400_000;

const it = databaseTest
  .extend("deps", { scope: "file" }, ({ database }) => createTestDeps({ endpoint: database.endpoint, now: () => NOW }))
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
it.beforeEach(async ({ database }) => {
  await database.query("truncate users, erased_sessions cascade");
  await database.query("update brands set retention_days = null");
});

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

describe("a round of the clock", () => {
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
