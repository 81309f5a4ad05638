import { join } from "node:path";
import type { Backend, Statement } from "../neon-proxy/backend.ts";
import { query } from "../neon-proxy/backend.ts";
import { DatabaseFailure } from "../neon-proxy/errors.ts";
import { readMigrations } from "./migrations.ts";
import type { Migration } from "./migrations.ts";

export const MIGRATIONS_FOLDER = join(import.meta.dirname, "../../drizzle");

/** Serialises concurrent runs on one Postgres (any constant will do). Held until the transaction ends. */
const LOCK: Statement = { query: "SELECT pg_advisory_xact_lock(7275394)", params: [] };
/** An index of a large table: made without a lock that would stop writes. */
const CONCURRENTLY = /\bINDEX CONCURRENTLY\b/i;
const UNIQUE_VIOLATION = "23505";
const DIVISION_BY_ZERO = "22012";

/**
 * Applies missing migrations in order, each in one transaction with its row in `schema_migrations`. Returns the names
 * that this run applied; those of a concurrent run are not among them.
 */
export async function migrate(backend: Backend, folder = MIGRATIONS_FOLDER): Promise<string[]> {
  const migrations = readMigrations(folder);
  const applied = await appliedNames(backend);
  const unknown = applied.filter((name) => !migrations.some((migration) => migration.name === name));
  if (unknown.length > 0) throw new Error(`the database is ahead of this code, it has ${unknown.join(", ")}`);

  const done: string[] = [];
  for (const migration of migrations.filter(({ name }) => !applied.includes(name))) {
    // The row first: a run that waited for the lock fails on the other run's row, so no migration runs twice.
    const row = { query: "INSERT INTO schema_migrations (name) VALUES ($1)", params: [migration.name] };
    if (await attempt(backend, migration, row, migration.up, UNIQUE_VIOLATION)) done.push(migration.name);
  }
  return done;
}

/** Rolls back the newest `count` migrations, each in one transaction with its row. Returns their names, newest first. */
export async function rollback(backend: Backend, count = 1, folder = MIGRATIONS_FOLDER): Promise<string[]> {
  const migrations = readMigrations(folder);
  const newest = (await appliedNames(backend)).toReversed().slice(0, count);
  // Looked up before the first rollback: a missing down migration must leave the database unchanged.
  const steps = newest.map((name) => {
    const migration = migrations.find((candidate) => candidate.name === name);
    if (migration?.down == null) throw new Error(`can't roll back: ${name}.down.sql is missing`);
    return { migration, down: migration.down };
  });

  const done: string[] = [];
  for (const { migration, down } of steps) {
    // Fails when there is no row to delete because a concurrent run rolled it back first.
    const row = {
      query: "WITH gone AS (DELETE FROM schema_migrations WHERE name = $1 RETURNING 1) SELECT 1 / count(*) FROM gone",
      params: [migration.name],
    };
    if (await attempt(backend, migration, row, down, DIVISION_BY_ZERO)) done.push(migration.name);
  }
  return done;
}

/** Runs one migration in one transaction. Returns false when its row shows that another run was first. */
async function attempt(
  backend: Backend,
  migration: Migration,
  row: Statement,
  statements: string[],
  conflictCode: string,
): Promise<boolean> {
  try {
    const steps = statements.map((statement) => ({ query: statement, params: [] }));
    if (statements.some((statement) => CONCURRENTLY.test(statement))) {
      // Not possible in a transaction. The row last: an interrupted run repeats its statements, which must permit it.
      for (const statement of steps) await backend.run({ statement });
      await backend.run({ statements: [LOCK, row], transaction: {} });
      return true;
    }
    await backend.run({ statements: [LOCK, row, ...steps], transaction: {} });
    return true;
  } catch (error) {
    const failure = error instanceof DatabaseFailure ? error : null;
    if (failure?.code === conflictCode && !(await isUnchanged(backend, migration.name, conflictCode))) return false;
    throw new Error(`migration ${migration.name}: ${failure?.message ?? String(error)}`, { cause: error });
  }
}

/** Whether the row is still as this run found it: then the error code came from the migration's own statement. */
async function isUnchanged(backend: Backend, name: string, conflictCode: string): Promise<boolean> {
  const present = (await appliedNames(backend)).includes(name);
  return conflictCode === UNIQUE_VIOLATION ? !present : present;
}

async function appliedNames(backend: Backend): Promise<string[]> {
  // Under the lock, because IF NOT EXISTS doesn't prevent two first runs from colliding in the catalogue.
  const table = {
    query:
      "CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
    params: [],
  };
  await backend.run({ statements: [LOCK, table], transaction: {} });
  const { rows } = await query(backend, "SELECT name FROM schema_migrations ORDER BY name");
  return rows.flatMap(([name]) => (typeof name === "string" ? [name] : []));
}
