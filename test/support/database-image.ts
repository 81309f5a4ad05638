import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedBackend } from "../../scripts/neon-proxy/pglite.ts";
import { migrate } from "../../scripts/database/migrate.ts";
import { seed } from "../../scripts/database/seed.ts";

/** Names the folder of the database images of a test run, one file per kind. */
export const DATABASE_IMAGES = "PARLEY_TEST_DATABASE_IMAGES";

/** Without tables; with the migrated tables; with the demo's rows as well. */
export type ImageKind = "empty" | "migrated" | "seeded";

/** vitest global setup: creates one database per run and keeps its image after each step for `startDatabase()`. */
export async function setup(): Promise<() => Promise<void>> {
  // Another project of the run has made them.
  if (process.env[DATABASE_IMAGES] !== undefined) return () => Promise.resolve();
  const folder = await mkdtemp(join(tmpdir(), "parley-test-"));
  const backend = await EmbeddedBackend.open();
  const keep = async (kind: ImageKind) => {
    const image = await backend.dump();
    await writeFile(join(folder, kind), Buffer.from(await image.arrayBuffer()));
  };
  await keep("empty");
  await migrate(backend);
  await keep("migrated");
  await seed(backend);
  await keep("seeded");
  await backend.close();
  process.env[DATABASE_IMAGES] = folder;
  return () => rm(folder, { recursive: true, force: true });
}
