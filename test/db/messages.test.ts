import type { SQLWrapper } from "drizzle-orm";
import { PgDialect } from "drizzle-orm/pg-core";
import { describe, expect } from "vitest";
import { messageById, messagesPage } from "../../src/db/messages.ts";
import { sessionById, sessionsPage, sessionWithCounts } from "../../src/db/sessions.ts";
import { usageByTemplate } from "../../src/db/usage.ts";
import type { Query } from "../../src/db/reader.ts";
import { ACME, GLOBEX, INSTANCE } from "../support/demo.ts";
import { createTestDeps } from "../support/deps.ts";
import { databaseTest } from "../support/fixtures.ts";

const SESSION = "6b031755-9a66-8154-bd03-e3f122a66063";

const it = databaseTest()
  /** How Postgres goes about it: every node of the plan, by name. */
  .extend("planOf", { scope: "file" }, ({ database }) => async (query: Query<unknown>) => {
    const { sql, params } = new PgDialect().sqlToQuery((query.statement as SQLWrapper).getSQL());
    const [row] = await database.query(
      `explain (analyze, format json) ${sql}`,
      params.map((param) => (param === null ? null : `${param as string | number}`)),
    );
    const nodes: any[] = [];
    const walk = (node: any): void => {
      nodes.push(node);
      for (const child of node["Plans"] ?? []) walk(child);
    };
    walk(JSON.parse(row?.["QUERY PLAN"] ?? "")[0].Plan);
    return nodes;
  });
let userId = "";
it.beforeAll(async ({ database }) => {
  const [row] = await database.query("insert into users (brand_id, tier) values ($1, 'guest') returning id", [ACME]);
  userId = row?.["id"] ?? "";
  await database.query(
    `insert into sessions (id, brand_id, instance_id, user_id, channel, address, started_at)
     select case n when 0 then $4::uuid else gen_random_uuid() end, $1, $2, $3, 'api', 'x', now() - n * interval '1 hour'
     from generate_series(0, 2000) n`,
    [ACME, INSTANCE.chat, userId, SESSION],
  );
  await database.query(
    `insert into messages (brand_id, session_id, instance_id, role, content, seq, created_at)
     select $1, $3, $2, 'user', 'x', n, now() - n * interval '1 second' from generate_series(1, 5000) n`,
    [ACME, INSTANCE.chat, SESSION],
  );
  await database.query("analyze");
});

describe("a page of history", () => {
  const before = { at: Date.now() - 1_000_000, tie: 1_000 };
  const pages: [string, Parameters<typeof messagesPage>[2]][] = [
    ["the first", { before: null, offset: 0, limit: 21, except: [] }],
    ["the next by cursor", { before, offset: 0, limit: 21, except: [] }],
    ["beside what is not saved", { before, offset: 0, limit: 21, except: [SESSION] }],
  ];
  it.for(pages)(
    "a page of history is one index scan for a conversation of any length: %s",
    async ([, window], { planOf }) => {
      const nodes = await planOf(messagesPage({ brandId: ACME, userId }, SESSION, window));
      const scans = nodes.filter((node) => node["Relation Name"] === "messages");
      expect(scans.map((node) => [node["Node Type"], node["Index Name"]])).toEqual([["Index Scan", "messages_page"]]);
      expect(scans[0]["Index Cond"]).toContain(window.before === null ? "session_id" : "ROW(created_at, seq) < ROW(");
      // No more is read than is shown, and nothing is sorted.
      expect(scans[0]["Actual Rows"] + (scans[0]["Rows Removed by Filter"] ?? 0)).toBe(21);
      expect(nodes.map((node) => node["Node Type"])).not.toContain("Sort");
    },
  );

  it("a page of history is empty for another brand", async ({ database }) => {
    const deps = createTestDeps({ endpoint: database.endpoint });
    const window = { before: null, offset: 0, limit: 21, except: [] };
    expect(await deps.read(messagesPage({ brandId: GLOBEX, userId: null }, SESSION, window))).toBeNull();
    expect(await deps.read(messageById({ brandId: GLOBEX, userId: null }, SESSION, SESSION))).toBeNull();
    expect(await deps.read(sessionWithCounts({ brandId: GLOBEX, userId: null }, SESSION, []))).toBeNull();
    expect(await deps.read(usageByTemplate({ brandId: GLOBEX, userId: null }, SESSION, []))).toBeNull();
    expect(await deps.read(sessionById(GLOBEX, SESSION))).toBeNull();
  });

  it("a page of history is empty for another user", async ({ planOf }) => {
    const window = { before: null, offset: 0, limit: 21, except: [] };
    const nodes = await planOf(messagesPage({ brandId: ACME, userId: SESSION }, SESSION, window));
    const scan = nodes.find((node) => node["Relation Name"] === "messages");
    expect(scan["Actual Rows"]).toBe(0);
  });
});

describe("a page of sessions", () => {
  it.for([
    ["a person's", (): string | null => userId],
    ["a brand's", (): string | null => null],
  ] as const)("a page of sessions is one index scan: %s", async ([, person], { planOf }) => {
    const before = { at: Date.now() - 3_600_000_000, tie: SESSION };
    const nodes = await planOf(sessionsPage({ brandId: ACME, userId: person() }, { before, offset: 0, limit: 21 }));
    const scan = nodes.find((node) => node["Relation Name"] === "sessions");
    expect(scan["Index Name"]).toMatch(/^sessions_(?:user|brand)_page$/);
    expect(scan["Actual Rows"]).toBe(21);
    expect(nodes.map((node) => node["Node Type"])).not.toContain("Sort");
  });
});
