import type { Storage } from "./storage.ts";

/**
 * Runs the statements this object has not seen yet. Append only; never edit one that has shipped. An object that a newer
 * version has migrated opens as well, so a deploy can be rolled back: a statement must leave the tables usable by the
 * version before (add, never rename or remove).
 */
export function migrate(storage: Storage, migrations: readonly string[]): void {
  storage.sql.exec("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)");
  const [row] = storage.sql
    .exec<{ version: number }>("SELECT coalesce(max(version), 0) AS version FROM migrations")
    .toArray();
  const seen = row?.version ?? 0;
  if (seen >= migrations.length) return;
  storage.transactionSync(() => {
    for (const statement of migrations.slice(seen)) storage.sql.exec(statement);
    storage.sql.exec("INSERT INTO migrations (version) VALUES (?)", migrations.length);
  });
}
