import { expect, it } from "vitest";
import { MIGRATIONS } from "../../../durable-objects/conversation/stores/schema.ts";
import { migrate } from "../../../durable-objects/runtime/migrate.ts";
import type { BegunRun } from "../../support/conversation.ts";
import { incarnation, submission } from "../../support/conversation.ts";
import { sqliteStorage } from "../../support/sqlite-storage.ts";

const NEWER = [
  ...MIGRATIONS,
  "ALTER TABLE turns ADD COLUMN priority INTEGER NOT NULL DEFAULT 0",
  "CREATE TABLE later (name TEXT PRIMARY KEY)",
];

it("an object that a newer version migrated works under the version before, and under the newer one again", async () => {
  const storage = sqliteStorage();
  const runs: BegunRun[] = [];
  migrate(storage, NEWER);
  storage.sql.exec("INSERT INTO later (name) VALUES ('kept')");

  const object = incarnation(storage, 0, () => 1_800_000_000_000, runs);
  const outcome = object.submit(submission("a", "x"));
  runs[0]?.answer("An answer");
  expect(await outcome).toMatchObject({ kind: "answered" });

  const again = incarnation(storage, 1, () => 1_800_000_000_000, runs);
  expect(await again.submit(submission("a", "x"))).toMatchObject({ kind: "completed" });

  migrate(storage, NEWER);
  expect(storage.sql.exec("SELECT state, priority FROM turns").toArray()).toEqual([{ state: "done", priority: 0 }]);
  expect(storage.sql.exec("SELECT name FROM later").toArray()).toEqual([{ name: "kept" }]);
});
