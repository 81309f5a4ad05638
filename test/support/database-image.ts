import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddedBackend } from "../../scripts/neon-proxy/pglite.ts";
import { migrate } from "../../scripts/database/migrate.ts";

/** Names the file in which the workers of a test run find a migrated database. */
export const DATABASE_IMAGE = "PARLEY_TEST_DATABASE_IMAGE";

/** vitest global setup: migrates one database per run and leaves its image for `startDatabase()`. */
export async function setup(): Promise<() => Promise<void>> {
  const folder = await mkdtemp(join(tmpdir(), "parley-test-"));
  const file = join(folder, "database.tar");
  const backend = await EmbeddedBackend.open();
  await migrate(backend);
  const image = await backend.dump();
  await writeFile(file, Buffer.from(await image.arrayBuffer()));
  await backend.close();
  process.env[DATABASE_IMAGE] = file;
  return () => rm(folder, { recursive: true, force: true });
}
