import { describe, expect, vi } from "vitest";
import { sql } from "drizzle-orm";
import { transaction } from "../../src/db/client.ts";
import { createUser } from "../../src/db/user-create.ts";
import { writeEntries } from "../../src/db/ledger.ts";
import { replyMessageIdOf, uuidv7 } from "../../src/domain/ids.ts";
import type { LedgerEntry } from "../../src/domain/ledger.ts";
import { ACME, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { answeredTurn, keyed, sessionOf } from "../support/entries.ts";
import { databaseTest } from "../support/fixtures.ts";
import { addresses } from "../support/addresses.ts";
import { PATIENCE } from "../support/patience.ts";

const DAY_MS = 86_400_000;

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend("deps", { scope: "file" }, ({ database }) => createTestDeps({ endpoint: database.endpoint }))
  .extend("guest", { scope: "file" }, ({ deps }) => async (): Promise<string> => {
    const id = uuidv7(Date.now());
    const { user } = await createUser(deps.db, addresses, {
      instanceId: INSTANCE.chat,
      brandId: ACME,
      channel: "api",
      user: { id, tier: "guest" },
      identifiers: [],
      metadata: {},
      now: 0,
    });
    return user.id;
  })
  /** Writes them in one transaction; the turns that lost. */
  .extend(
    "write",
    { scope: "file" },
    ({ deps }) =>
      async (...entries: LedgerEntry[]): Promise<string[]> =>
        writeEntries(deps.db, await Promise.all(entries.map(keyed))),
  )
  .extend(
    "messages",
    { scope: "file" },
    ({ database }) =>
      () =>
        database.query("select role, content, processed, request_id from messages order by seq"),
  )
  .extend(
    "locks",
    { scope: "file" },
    ({ database }) =>
      () =>
        database.query("select turn_id, fence, metadata_json->'cached_response' as cached from idempotency_locks"),
  )
  .extend(
    "contents",
    { scope: "file" },
    ({ messages }) =>
      async () =>
        (await messages()).map(({ content }) => content),
  )
  .extend(
    "open",
    { scope: "file" },
    ({ database }) =>
      async () =>
        (await database.query("select id from sessions where expired_at is null order by last_message_at")).map(
          ({ id }) => id,
        ),
  )
  .extend(
    "countOf",
    { scope: "file" },
    ({ database }) =>
      async (table: string) =>
        Number((await database.query(`select count(*) as n from ${table}`))[0]?.["n"]),
  );
let ann: string;

it.beforeEach(async ({ database, guest }) => {
  await database.query("truncate users cascade");
  ann = await guest();
  await database.query("truncate sessions cascade");
  database.forget();
});

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));

describe("a turn that was answered", () => {
  it("a turn is written in one round trip with its messages, usage and reply [C6.3.4, C6.3.5, C6.3.6]", async ({
    write,
    database,
    messages,
    locks,
  }) => {
    const turn = answeredTurn(sessionOf(ann), { cachedResponse: { request_id: "r1", text: "Hi" } });
    expect(await write(turn)).toEqual([]);
    expect(database.requests).toHaveLength(1);
    expect(await messages()).toEqual([
      { role: "user", content: "Hello", processed: "t", request_id: "r1" },
      { role: "assistant", content: "Hi", processed: "t", request_id: "r1" },
    ]);
    expect(await database.query("select total_tokens, cost_usd from session_token_usage")).toEqual([
      { total_tokens: "46", cost_usd: "0.0000222" },
    ]);
    expect(await locks()).toEqual([{ turn_id: turn.id, fence: "1", cached: '{"text": "Hi", "request_id": "r1"}' }]);
  });

  it("a stored reply holds no secrets [C6.3.7]", async ({ write, locks }) => {
    const cachedResponse = { text: "Hi", access_token: "s3cret", deep: [{ password: "s3cret", kept: 1 }] };
    await write(answeredTurn(sessionOf(ann), { cachedResponse }));
    expect((await locks())[0]?.["cached"]).toBe('{"deep": [{"kept": 1}], "text": "Hi"}');
  });

  it("a stored reply is limited to 64 KB and says when it is incomplete [C6.3.8]", async ({ write, locks }) => {
    const parts = Object.fromEntries(times(50, (n) => [`part${n}`, "ü".repeat(9_000)]));
    await write(answeredTurn(sessionOf(ann), { cachedResponse: { text: "Hi", ...parts } }));
    const cached = JSON.parse((await locks())[0]?.["cached"] ?? "");
    expect(cached).toMatchObject({ text: "Hi", part0: "ü".repeat(9_000), truncated: true });
    expect(Buffer.byteLength(JSON.stringify(cached))).toBeLessThanOrEqual(65_536);
    expect(Buffer.byteLength(JSON.stringify(cached))).toBeGreaterThan(50_000);
  });

  it("a turn written twice keeps its first reply and has no duplicate rows [C6.4.1]", async ({
    write,
    contents,
    locks,
    countOf,
  }) => {
    const turn = answeredTurn(sessionOf(ann));
    await write(turn);
    const again = answeredTurn(turn.session, { turnId: turn.id, fence: 2, reply: "Hi, from another run" });
    expect(await write(again)).toEqual([]);
    expect(await contents()).toEqual(["Hello", "Hi"]);
    expect(await locks()).toMatchObject([{ cached: '{"text": "Hi", "request_id": "r1"}' }]);
    expect(await countOf("session_token_usage")).toBe(1);
  });

  it("a turn written by twenty consumers at once counts once [C6.4.6]", async ({ write, contents, locks, countOf }) => {
    const turn = answeredTurn(sessionOf(ann));
    const lost = await Promise.all(times(20, () => write(turn)));
    expect(lost.flat()).toEqual([]);
    expect([await contents(), (await locks()).length, await countOf("session_token_usage")]).toEqual([
      ["Hello", "Hi"],
      1,
      1,
    ]);
  });

  it("a turn moves the time of its session forward, never back", async ({ write, database }) => {
    const session = sessionOf(ann, { lastMessageAt: 5_000_000, lastAssistantMessageAt: 5_000_000 });
    await write(answeredTurn(session, { requestId: "r1", at: 6_000_000 }));
    await write(answeredTurn(session, { requestId: "r0", at: 3_000_000 }));
    expect((await database.query("select extract(epoch from last_message_at)::int as at from sessions"))[0]).toEqual({
      at: "6001",
    });
  });
});

describe("a message of a channel that comes again after its conversation has forgotten it", () => {
  const WAMID = "wamid.1";
  const heard = (session = sessionOf(ann), options: Parameters<typeof answeredTurn>[1] = {}) => {
    const entry = answeredTurn(session, options);
    const [said, replied] = entry.messages;
    return { ...entry, messages: [{ ...said!, channelMessageId: WAMID }, replied!] };
  };

  it("a second reply to a channel's message is kept as a dead letter", async ({ write, contents, countOf }) => {
    const first = heard();
    await write(first);
    const again = heard(first.session, { at: 2_000_000 + 9 * DAY_MS, reply: "Hi again", position: 2 });
    expect(await write(again)).toEqual([again.id]);
    expect(await contents()).toEqual(["Hello", "Hi"]);
    expect(await countOf("session_token_usage")).toBe(1);
    expect(await write(first)).toEqual([]);
  });

  it("two conversations that reply to one channel message at once leave one reply", async ({
    database,
    write,
    contents,
  }) => {
    for (let n = 0; n < 10; n += 1) {
      await database.query("truncate sessions cascade");
      await Promise.all([write(heard(undefined, { requestId: "r1" })), write(heard(undefined, { requestId: "r2" }))]);
      expect(await contents()).toEqual(["Hello", "Hi"]);
    }
  });
});

describe("a request id", () => {
  const contested = (lifetimeMs: number) => {
    const session = sessionOf(ann);
    return [
      answeredTurn(session, { at: 2_000_000, lifetimeMs, reply: "first" }),
      answeredTurn(session, { at: 2_000_000 + DAY_MS, reply: "second", position: 2 }),
    ] as const;
  };

  it("a request id belongs to the turn written first, and the other turn leaves no row [C6.3.3, C6.4.2]", async ({
    write,
    contents,
    locks,
    countOf,
  }) => {
    const [first, second] = contested(DAY_MS + 1);
    expect([await write(first), await write(second)]).toEqual([[], [second.id]]);
    expect(await contents()).toEqual(["Hello", "first"]);
    expect(await locks()).toMatchObject([{ turn_id: first.id }]);
    expect(await countOf("session_token_usage")).toBe(1);
  });

  it("an expired request id is replaced, and both turns are kept [C6.2.4, C6.5.2]", async ({
    write,
    contents,
    locks,
  }) => {
    const [first, second] = contested(DAY_MS);
    expect([await write(first), await write(second)]).toEqual([[], []]);
    expect(await contents()).toEqual(["Hello", "first", "Hello", "second"]);
    expect(await locks()).toEqual([{ turn_id: second.id, fence: "1", cached: expect.stringContaining("second") }]);
  });

  it("a request id used twice in a batch belongs to the earlier turn", async ({ write, locks }) => {
    const [first, second] = contested(DAY_MS + 1);
    expect(await write(first, second)).toEqual([second.id]);
    const [third, fourth] = contested(DAY_MS);
    expect(await write(third, fourth)).toEqual([]);
    expect((await locks()).map(({ turn_id }) => turn_id)).toEqual([first.id, fourth.id]);
  });

  it("a request id used by two turns at once belongs to one of them [C6.4.9]", async ({ write, database }) => {
    for (let round = 0; round < 5; round += 1) {
      const session = sessionOf(ann);
      const rivals = times(10, (n) => answeredTurn(session, { at: 2_000_000 + n }));
      const lost = (await Promise.all(rivals.map((rival) => write(rival)))).flat();
      expect(lost).toHaveLength(9);
      const winner = rivals.find(({ id }) => !lost.includes(id));
      const rows = await database.query("select id from messages where session_id = $1 and role = 'assistant'", [
        session.id,
      ]);
      expect(rows).toEqual([{ id: replyMessageIdOf(winner?.id ?? "") }]);
    }
  });

  it("one request id in two sessions is two turns [C3.7.2]", async ({ write, countOf }) => {
    expect(await write(answeredTurn(sessionOf(ann)), answeredTurn(sessionOf(ann)))).toEqual([]);
    expect([await countOf("idempotency_locks"), await countOf("messages")]).toEqual([2, 4]);
  });
});

describe("words that are no turn", () => {
  it("a transcript message needs no request id, takes no lock, and is stored once and unprocessed [C6.3.1]", async ({
    write,
    messages,
    countOf,
  }) => {
    const turn = answeredTurn(sessionOf(ann));
    const transcript = { ...turn, turn: null, usage: null };
    expect([await write(transcript), await write(transcript)]).toEqual([[], []]);
    expect(await messages()).toMatchObject([{ processed: "f" }, { processed: "f" }]);
    expect(await countOf("idempotency_locks")).toBe(0);
  });
});

describe("a batch of many conversations", () => {
  it("a batch is one transaction with a fixed number of statements", async ({ guest, database, write, countOf }) => {
    const people = await Promise.all(times(10, guest));
    await database.query("truncate sessions cascade");
    database.forget();
    const sessions = people.map((userId) => sessionOf(userId));
    const entries = sessions.flatMap((session) =>
      times(20, (n) => answeredTurn(session, { requestId: `r${n}`, at: 2_000_000 + n * 5_000, position: n })),
    );
    await write(...entries);
    const [single] = database.requests;
    expect([database.requests.length, single?.queries.length]).toEqual([1, 7]);
    expect([await countOf("sessions"), await countOf("messages")]).toEqual([10, 400]);
    expect(
      await database.query("select distinct extract(epoch from last_message_at)::int as at from sessions"),
    ).toEqual([{ at: String((2_000_000 + 19 * 5_000 + 1_000) / 1_000) }]);
  });

  it("two batches with the same conversations in opposite order do not deadlock", async ({
    write,
    database,
    countOf,
  }) => {
    const [one, other] = [sessionOf(ann, { id: uuidv7(1) }), sessionOf(ann, { id: uuidv7(2) })];
    await write(answeredTurn(one), answeredTurn(other));
    // By force: whoever changes a session holds it for a while before they take the next.
    await database.query(
      "create function linger() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return new; end $$",
    );
    await database.query("create trigger linger before update on sessions for each row execute function linger()");
    const close = ({ id }: typeof one) => ({ sessionId: id, expiredAt: 9_000_000 });
    // A deadlock would be an error: nothing in this test sends anything again.
    await Promise.all(
      times(10, (n) =>
        write(
          n % 2 === 0
            ? { ...answeredTurn(one, { requestId: `next${n}` }), closed: close(other) }
            : { ...answeredTurn(other, { requestId: `next${n}` }), closed: close(one) },
        ),
      ),
    );
    await database.query("drop trigger linger on sessions");
    expect(await countOf("messages")).toBe(12 * 2);
  });

  it("a batch with one refused row is not written", async ({ write, countOf }) => {
    const stranger = answeredTurn(sessionOf("01900000-0000-7000-8000-00000000dead"));
    await expect(write(answeredTurn(sessionOf(ann)), stranger)).rejects.toMatchObject({ code: "23503" });
    expect([await countOf("sessions"), await countOf("messages"), await countOf("idempotency_locks")]).toEqual([
      0, 0, 0,
    ]);
  });
});

describe("a session", () => {
  it("a session is closed by the next one and stays closed when late entries arrive", async ({
    write,
    open,
    contents,
  }) => {
    const [before, after] = [sessionOf(ann), sessionOf(ann)];
    const late = answeredTurn(before, { requestId: "late", at: 3_000_000 });
    await write(answeredTurn(before));
    await write({ ...answeredTurn(after, { at: 4_000_000 }), closed: { sessionId: before.id, expiredAt: 4_000_000 } });
    await write(late);
    expect(await open()).toEqual([after.id]);
    expect(await contents()).toHaveLength(6);
  });

  it("a closed session opens again when the conversation goes on in it", async ({ write, database, open }) => {
    const session = sessionOf(ann);
    await write(answeredTurn(session));
    await database.query("update sessions set expired_at = to_timestamp(2002)");
    await write(answeredTurn(session, { requestId: "r2", at: 2_500_000 }));
    expect(await open()).toEqual([session.id]);
  });

  it("a session of another brand is never changed", async ({ write, database }) => {
    const [theirs, ours] = [sessionOf(ann), sessionOf(ann)];
    await write(answeredTurn(theirs));
    await database.query("update sessions set brand_id = (select id from brands where name = 'Globex')");
    await write({ ...answeredTurn(ours), closed: { sessionId: theirs.id, expiredAt: 9_000_000 } });
    await write(answeredTurn(theirs, { requestId: "r2", at: 9_000_000 }));
    const [row] = await database.query(
      "select expired_at, extract(epoch from last_message_at)::int as at from sessions where id = $1",
      [theirs.id],
    );
    expect(row).toEqual({ expired_at: null, at: "2001" });
  });

  it("the oldest of eleven open sessions of a user is closed", async ({ write, open, database }) => {
    const sessions = times(12, (n) => sessionOf(ann, { id: uuidv7(n) }));
    for (const [n, session] of sessions.entries()) await write(answeredTurn(session, { at: 2_000_000 + n * 1_000 }));
    expect(await open()).toEqual(sessions.slice(2).map(({ id }) => id));
    expect(await database.query("select count(*) as n from messages")).toEqual([{ n: "24" }]);
  });

  it("a session in use is not closed as one of the oldest, and no writer waits for it", async ({
    write,
    deps,
    database,
    open,
  }) => {
    const sessions = times(11, (n) => sessionOf(ann, { id: uuidv7(n) }));
    for (const [n, session] of sessions.slice(0, 10).entries()) {
      await write(answeredTurn(session, { at: 2_000_000 + n * 1_000 }));
    }
    const [oldest, newest] = [sessions[0]?.id ?? "", sessionOf(ann)];
    let isDone = false;
    const goingOn = transaction(deps.db, [
      sql`update sessions set last_message_at = to_timestamp(3000) where id = ${oldest}`,
      sql`select pg_sleep(${database.isConcurrent ? 2 : 0})`,
    ]).then(() => (isDone = true));
    const isUnderWay = async () =>
      (await database.query("select from pg_stat_activity where wait_event = 'PgSleep'")).length > 0;
    await vi.waitUntil(async () => isDone || (await isUnderWay()), { ...PATIENCE, interval: 5 });
    await write(answeredTurn(newest, { at: 3_000_000 }));
    expect(isDone).toBe(!database.isConcurrent);
    await goingOn;
    expect(await open()).toContain(oldest);
  });

  it("a session closed as one of the oldest opens again when the conversation goes on in it", async ({
    write,
    open,
  }) => {
    const sessions = times(11, (n) => sessionOf(ann, { id: uuidv7(n) }));
    for (const [n, session] of sessions.entries()) await write(answeredTurn(session, { at: 2_000_000 + n * 1_000 }));
    const [oldest] = sessions;
    if (oldest === undefined) throw new Error("there are eleven");
    expect(await open()).not.toContain(oldest.id);
    await write(answeredTurn(oldest, { requestId: "r2", at: 2_100_000 }));
    expect(await open()).toContain(oldest.id);
    expect(await open()).toHaveLength(10);
  });
});

describe("statements that lock several rows", () => {
  it("statements lock several rows in one order and never deadlock", async ({ database, deps, guest, write }) => {
    const queries: string[] = [];
    const stop = database.observe((request) => queries.push(...request.queries));
    await write(answeredTurn(sessionOf(await guest())));
    await createUser(deps.db, addresses, {
      ...{ instanceId: INSTANCE.chat, brandId: ACME, channel: "web", metadata: {}, now: 0 },
      user: { id: uuidv7(Date.now()), tier: "standard" },
      identifiers: [{ type: "device_id", value: "ordered" }],
    });
    stop();
    const only = (start: RegExp) => {
      const found = queries.filter((query) => start.test(query));
      expect(found).not.toEqual([]);
      return found;
    };
    for (const query of only(/^\s*select id from sessions\s+where/)) {
      expect(query).toMatch(/order by id for no key update\s*$/);
    }
    for (const query of only(/^\s*insert into sessions .* jsonb_to_recordset/s)) {
      expect(query).toMatch(/order by id\s+on conflict/);
    }
    for (const query of only(/insert into idempotency_locks/)) expect(query).toMatch(/order by key\s+on conflict/);
    for (const query of only(/insert into user_identifiers/)) {
      expect(query).toMatch(/order by i\.type, i\.value\s+on conflict/);
    }
  });
});
