import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { query } from "../../scripts/neon-proxy/backend.ts";
import { openImage } from "../support/database.ts";
import type { EmbeddedBackend } from "../../scripts/neon-proxy/pglite.ts";
import { migrate, MIGRATIONS_FOLDER, rollback } from "../../scripts/database/migrate.ts";
import { readMigrations } from "../../scripts/database/migrations.ts";
import { isEmpty, seed } from "../../scripts/database/seed.ts";

const names = readMigrations(MIGRATIONS_FOLDER).map(({ name }) => name);

let backend: EmbeddedBackend;
beforeAll(async () => {
  backend = await openImage("empty");
});
afterAll(() => backend.close());

/** Everything a migration can make, as text: columns, constraints, indexes, functions, triggers, types. */
async function shape(): Promise<string[]> {
  const { rows } = await query(
    backend,
    `select 'column ' || table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
       from information_schema.columns where table_schema = 'public' and table_name <> 'schema_migrations'
     union all select 'constraint ' || conrelid::regclass || ' ' || pg_get_constraintdef(oid)
       from pg_constraint where connamespace = 'public'::regnamespace and conrelid::regclass::text <> 'schema_migrations'
     union all select 'index ' || indexdef from pg_indexes where schemaname = 'public' and tablename <> 'schema_migrations'
     union all select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
     union all select 'trigger ' || tgname from pg_trigger where not tgisinternal
     union all select 'type ' || typname from pg_type where typnamespace = 'public'::regnamespace and typtype in ('e', 'd')
     order by 1`,
  );
  return rows.map(([line]) => String(line));
}

describe("the migrations of this service", () => {
  let shapes: string[][];

  it("all migrations go up from an empty database and create the messages table [5.1-INT-003]", async () => {
    expect(await migrate(backend)).toEqual(names);
    expect(await shape()).toContainEqual(expect.stringMatching(/^column messages\.session_id uuid NO/));
  });

  it("all migrations go down one by one to an empty database [5.1-INT-006]", async () => {
    shapes = [await shape()];
    for (const name of names.toReversed()) {
      expect(await rollback(backend, 1)).toEqual([name]);
      shapes.unshift(await shape());
    }
    expect(shapes[0]).toEqual([]);
    // None of them did nothing, on its way up or down.
    expect(new Set(shapes.map((lines) => lines.join("\n"))).size).toBe(names.length + 1);
  });

  it("all migrations go up again to the same schema, with or without rows", async () => {
    await migrate(backend);
    expect(await shape()).toEqual(shapes.at(-1));
    await seed(backend);
    for (const name of names.slice(1).toReversed()) expect(await rollback(backend, 1)).toEqual([name]);
    expect(await isEmpty(backend)).toBe(false);
    await migrate(backend);
    expect(await shape()).toEqual(shapes.at(-1));
  });
});

/** Tables whose rows grow with every message: a lock on them stops the service. */
const LARGE =
  /"(?:messages|sessions|session_token_usage|idempotency_locks|users|user_identifiers|broadcast_recipients)"/;
/** The first migrations ran on empty tables. */
const RELEASED = readMigrations(MIGRATIONS_FOLDER).slice(4);

/** What a statement must be like, so that the version before goes on while it runs and afterwards. */
const RULES: [fault: string, about: RegExp, is: (statement: string) => boolean][] = [
  [
    "takes away what the version before uses",
    /\bDROP (?:COLUMN|TABLE)\b|\bRENAME\b|\bSET NOT NULL\b|\bSET DATA TYPE\b/i,
    () => false,
  ],
  [
    "adds a column that the version before leaves empty",
    /\bADD COLUMN\b.*\bNOT NULL\b/is,
    (sql) => /\bDEFAULT\b/i.test(sql),
  ],
  ["checks every row under a lock", /\bADD CONSTRAINT\b/i, (sql) => /\bNOT VALID\b/i.test(sql)],
  [
    "stops writes of a large table",
    /\bCREATE (?:UNIQUE )?INDEX\b/i,
    (sql) => !LARGE.test(sql) || /\bINDEX CONCURRENTLY IF NOT EXISTS\b/i.test(sql),
  ],
];
const faultsOf = (statement: string): string[] =>
  RULES.flatMap(([fault, about, is]) => (about.test(statement) && !is(statement) ? [fault] : []));

describe("a migration on a database in use", () => {
  it.each(RELEASED.flatMap(({ name, up }) => up.map((statement) => [name, statement] as const)))(
    "the version before runs on the schema of %s while it is deployed: %s",
    (_name, statement) => {
      expect(faultsOf(statement)).toEqual([]);
    },
  );

  it.each([
    'ALTER TABLE "messages" DROP COLUMN "role";',
    'ALTER TABLE "messages" RENAME COLUMN "role" TO "speaker";',
    'ALTER TABLE "messages" ADD COLUMN "n" integer NOT NULL;',
    'ALTER TABLE "messages" ADD CONSTRAINT "n" CHECK (true);',
    'CREATE INDEX "n" ON "messages" USING btree ("role");',
  ])("a migration that would stop the version before is found: %s", (statement) => {
    expect(faultsOf(statement)).toHaveLength(1);
  });

  it("indexes are made outside of a transaction when they are made concurrently", async () => {
    const folder = await mkdtemp(join(tmpdir(), "parley-migrations-"));
    await mkdir(join(folder, "meta"));
    const entries = [{ idx: 0, tag: "0000_index" }];
    await writeFile(join(folder, "meta", "_journal.json"), JSON.stringify({ entries }));
    await writeFile(
      join(folder, "0000_index.sql"),
      "CREATE TABLE IF NOT EXISTS t (id int);\n--> statement-breakpoint\nCREATE INDEX CONCURRENTLY IF NOT EXISTS t_id ON t (id);",
    );
    const empty = await openImage("empty");
    expect(await migrate(empty, folder)).toEqual(["0000_index"]);
    expect(await migrate(empty, folder)).toEqual([]);
    const { rows } = await query(empty, "select indexname from pg_indexes where tablename = 't'");
    expect(rows).toEqual([["t_id"]]);
    await empty.close();
    await rm(folder, { recursive: true });
  });
});
