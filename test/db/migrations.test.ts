import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { query } from "../../scripts/neon-proxy/backend.ts";
import { EmbeddedBackend } from "../../scripts/neon-proxy/pglite.ts";
import { migrate, MIGRATIONS_FOLDER, rollback } from "../../scripts/database/migrate.ts";
import { readMigrations } from "../../scripts/database/migrations.ts";
import { isEmpty, seed } from "../../scripts/database/seed.ts";

const names = readMigrations(MIGRATIONS_FOLDER).map(({ name }) => name);

let backend: EmbeddedBackend;
beforeAll(async () => {
  backend = await EmbeddedBackend.open();
}, 60_000);
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
