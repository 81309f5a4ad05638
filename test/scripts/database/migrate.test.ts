import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { query } from "../../../scripts/neon-proxy/backend.ts";
import { openImage } from "../../support/database.ts";
import type { EmbeddedBackend } from "../../../scripts/neon-proxy/pglite.ts";
import { migrate, rollback } from "../../../scripts/database/migrate.ts";
import { isEmpty, seed } from "../../../scripts/database/seed.ts";

let folder: string;
let backend: EmbeddedBackend;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "parley-migrations-"));
  backend = await openImage("empty");
});
afterEach(async () => {
  await backend.close();
  await rm(folder, { recursive: true });
});

async function write(migrations: Record<string, { up: string; down?: string }>): Promise<void> {
  const entries = Object.keys(migrations).map((tag, idx) => ({ idx, tag }));
  await mkdir(join(folder, "meta"), { recursive: true });
  await writeFile(join(folder, "meta/_journal.json"), JSON.stringify({ entries }));
  for (const [tag, { up, down }] of Object.entries(migrations)) {
    await writeFile(join(folder, `${tag}.sql`), up);
    if (down !== undefined) await writeFile(join(folder, `${tag}.down.sql`), down);
  }
}

const first = {
  up: "CREATE TABLE a (id int);--> statement-breakpoint\nCREATE TABLE b (id int);",
  down: "DROP TABLE b;\n--> statement-breakpoint\nDROP TABLE a;",
};
const second = { up: "ALTER TABLE a ADD COLUMN name text;", down: "ALTER TABLE a DROP COLUMN name;" };

const tables = async () => {
  const { rows } = await query(
    backend,
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1",
  );
  return rows.flat();
};

describe("migrations", () => {
  it("a migration goes up, down and up again", async () => {
    await write({ "0000_first": first, "0001_second": second });
    expect(await migrate(backend, folder)).toEqual(["0000_first", "0001_second"]);
    expect(await migrate(backend, folder)).toEqual([]);
    expect(await rollback(backend, 1, folder)).toEqual(["0001_second"]);
    expect(await tables()).toEqual(["a", "b", "schema_migrations"]);
    expect(await rollback(backend, 9, folder)).toEqual(["0000_first"]);
    expect(await tables()).toEqual(["schema_migrations"]);
    expect(await migrate(backend, folder)).toEqual(["0000_first", "0001_second"]);
  });

  it("a failed migration leaves nothing and keeps the earlier ones", async () => {
    await write({
      "0000_first": first,
      "0001_broken": { up: "CREATE TABLE c (id int);--> statement-breakpoint\nSELECT 1 / 0;" },
    });
    await expect(migrate(backend, folder)).rejects.toThrow("migration 0001_broken: division by zero");
    expect(await tables()).toEqual(["a", "b", "schema_migrations"]);
  });

  it("a migration's own unique violation is reported, and not taken for a concurrent run", async () => {
    const up = "CREATE TABLE c (id int PRIMARY KEY);--> statement-breakpoint\nINSERT INTO c VALUES (1), (1);";
    await write({ "0000_broken": { up } });
    await expect(migrate(backend, folder)).rejects.toThrow("migration 0000_broken: duplicate key");
  });

  it("a migration without a way down is not rolled back", async () => {
    await write({ "0000_first": { up: first.up } });
    await migrate(backend, folder);
    await expect(rollback(backend, 1, folder)).rejects.toThrow("0000_first.down.sql is missing");
  });

  it("a migration file missing from the journal is refused", async () => {
    await write({ "0000_first": first });
    await writeFile(join(folder, "0001_forgotten.sql"), "SELECT 1");
    await expect(migrate(backend, folder)).rejects.toThrow("0001_forgotten.sql");
  });

  it("the project's migrations go up, down and up again, and accept the demo rows", async () => {
    const names = await migrate(backend);
    expect(await rollback(backend, names.length)).toEqual(names.toReversed());
    expect(await tables()).toEqual(["schema_migrations"]);
    await migrate(backend);
    expect(await isEmpty(backend)).toBe(true);
    await seed(backend);
    await seed(backend);
    const counts = await query(
      backend,
      "SELECT (SELECT count(*) FROM brands), (SELECT count(*) FROM instances), (SELECT count(*) FROM api_keys)",
    );
    expect(counts.rows).toEqual([["2", "7", "2"]]);
  });
});
