import { setTimeout } from "node:timers/promises";
import { describe, expect } from "vitest";
import { addressOfSession, sessionIdAt } from "../../src/domain/address.ts";
import { writeDeadLetter } from "../../src/db/dead-letters.ts";
import { deleteSessions, eraseSession } from "../../src/db/erasure.ts";
import { writeEntries } from "../../src/db/ledger.ts";
import { withRetry } from "../../src/db/retry.ts";
import type { Session } from "../../src/domain/session.ts";
import { ACME } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { answeredTurn, keyed, sessionOf } from "../support/entries.ts";
import { databaseTest } from "../support/fixtures.ts";

const it = databaseTest()
  .extend("databaseOptions", { scope: "file" }, { seeded: true, concurrent: true })
  .extend("deps", { scope: "file" }, ({ database }) => createTestDeps({ endpoint: database.endpoint }))
  .extend("userId", { scope: "file" }, async ({ database }) => {
    const [row] = await database.query("insert into users (brand_id, tier) values ($1, 'guest') returning id", [ACME]);
    return row?.["id"] ?? "";
  })
  .extend(
    "left",
    { scope: "file" },
    ({ database }) =>
      async (session: Session) =>
        database.query(
          `select 'session' as what from sessions where id = $1
     union all select 'message' from messages where session_id = $1
     union all select 'lock' from idempotency_locks where session_id = $1`,
          [session.id],
        ),
  )
  .extend("write", { scope: "file" }, ({ deps }) => async (session: Session) => {
    const entry = await keyed(answeredTurn(session));
    return withRetry(() => writeEntries(deps.db, [entry]), { isRepeatable: true });
  })
  .extend(
    "erase",
    { scope: "file" },
    ({ deps }) =>
      (session: Session) =>
        eraseSession(deps.db, { brandId: ACME, sessionId: session.id, session }),
  )
  .extend(
    "newSession",
    { scope: "file" },
    ({ userId }) =>
      (n: number) =>
        sessionOf(userId, { id: sessionIdAt(crypto.randomUUID(), n) }),
  );

describe("a session that is erased while the ledger writes it", () => {
  it.for([
    ["for the first time", false],
    ["again", true],
  ] as const)(
    "a session erased while the ledger writes it is gone, with the erasure %s",
    async ([, known], { newSession, write, erase, left }) => {
      for (let n = 0; n < 40; n += 1) {
        const session = newSession(n);
        if (known) await write(session);
        const lead = (n % 8) - 4;
        await Promise.all([
          setTimeout(Math.max(0, lead)).then(() => write(session)),
          setTimeout(Math.max(0, -lead)).then(() => erase(session)),
        ]);
        expect(await left(session)).toEqual([]);
      }
    },
  );

  it("a ledger entry of an erased session is neither lost nor kept", async ({ newSession, erase, write, left }) => {
    const session = newSession(100);
    await erase(session);
    expect(await write(session)).toEqual([]);
    expect(await left(session)).toEqual([]);
  });

  it("an erased session leaves no dead letter", async ({ newSession, erase, deps, database }) => {
    const [erased, other] = [newSession(104), newSession(105)];
    await erase(erased);
    for (const session of [erased, other]) await writeDeadLetter(deps.db, answeredTurn(session), "22021");
    const letters = await database.query("select payload_json #>> '{session,id}' as id from dead_letters");
    expect(letters).toEqual([{ id: other.id }]);
  });

  it("an erased session leaves no dead letter when both are written at once", async ({
    newSession,
    deps,
    erase,
    database,
  }) => {
    for (let n = 0; n < 60; n += 1) {
      const session = newSession(200 + n);
      const lead = (n % 6) - 3;
      await Promise.all([
        setTimeout(Math.max(0, lead)).then(() => writeDeadLetter(deps.db, answeredTurn(session), "22021")),
        setTimeout(Math.max(0, -lead)).then(() => erase(session)),
      ]);
      const letters = await database.query("select id from dead_letters where payload_json #>> '{session,id}' = $1", [
        session.id,
      ]);
      expect(letters).toEqual([]);
    }
  });

  it("rows of another brand's session stay, whatever session a brand names", async ({
    newSession,
    deps,
    write,
    database,
  }) => {
    const session = newSession(900);
    await write(session);
    const globex = "00000000-0000-4000-8000-000000000002";
    expect(await deleteSessions(deps.db, globex, [session.id])).toBe(0);
    const tables = ["messages", "session_token_usage", "idempotency_locks"];
    for (const table of tables) {
      expect(await database.query(`select session_id from ${table} where session_id = $1`, [session.id])).not.toEqual(
        [],
      );
    }
    expect(await deleteSessions(deps.db, ACME, [session.id])).toBe(1);
    for (const table of tables) {
      expect(await database.query(`select session_id from ${table} where session_id = $1`, [session.id])).toEqual([]);
    }
  });

  it("an erasure removes the dead letters of its own session only", async ({ newSession, database, deps, erase }) => {
    const session = newSession(106);
    const startedAt = Date.now() - 60_000;
    const address = addressOfSession(session.id) ?? "";
    const letter = async (reason: string, at: number, where: string, brandId: string | null) =>
      database.query(
        "insert into dead_letters (source, reason, address, brand_id, created_at) values ('whatsapp', $1, $2, $3, $4)",
        [reason, where, brandId, new Date(at).toISOString()],
      );
    await letter("of nobody", startedAt + 1, address, null);
    await letter("of the brand", startedAt + 1, address, ACME);
    await letter("before", startedAt - 1, address, ACME);
    await letter("elsewhere", startedAt + 1, "elsewhere", ACME);
    await letter("of another brand", startedAt + 1, address, "00000000-0000-4000-8000-000000000002");
    const entry = await keyed(answeredTurn({ ...session, startedAt }, { at: startedAt }));
    await writeEntries(deps.db, [{ ...entry, address }]);
    await erase(session);
    const letters = await database.query("select reason from dead_letters where source = 'whatsapp' order by reason");
    expect(letters.map(({ reason }) => reason)).toEqual(["before", "elsewhere", "of another brand"]);
  });

  it("an erasure removes dead letters of a session that Postgres had not known", async ({
    newSession,
    database,
    erase,
  }) => {
    const session = { ...newSession(107), startedAt: Date.now() - 60_000 };
    const address = addressOfSession(session.id);
    await database.query(
      "insert into dead_letters (source, reason, address, created_at) values ('whatsapp', 'unmatched', $1, $2)",
      [address, new Date(session.startedAt + 1).toISOString()],
    );
    await erase(session);
    expect(await database.query("select id from dead_letters where address = $1", [address])).toEqual([]);
  });

  it("an erasure leaves other sessions of the same batch unharmed", async ({ newSession, erase, deps, left }) => {
    const [erased, other] = [newSession(101), newSession(102)];
    await erase(erased);
    await writeEntries(deps.db, await Promise.all([answeredTurn(erased), answeredTurn(other)].map(keyed)));
    expect(await left(erased)).toEqual([]);
    expect((await left(other)).map(({ what }) => String(what)).toSorted((a, b) => a.localeCompare(b))).toEqual([
      "lock",
      "message",
      "message",
      "session",
    ]);
  });

  it("a session can't be erased by another brand", async ({ newSession, write, deps, left }) => {
    const session = newSession(103);
    await write(session);
    const stranger = "00000000-0000-4000-8000-000000000002";
    expect(await eraseSession(deps.db, { brandId: stranger, sessionId: session.id, session: null })).toBe(false);
    await write({ ...session, lastMessageAt: Date.now() });
    expect((await left(session)).length).toBe(4);
  });
});
