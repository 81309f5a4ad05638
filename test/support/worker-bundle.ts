import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildWorker } from "./built-worker.ts";

/** Names the folder of the Worker's bundle of a test run. */
export const WORKER_BUNDLE = "PARLEY_TEST_WORKER_BUNDLE";

export const WORKER_CONFIG = join(import.meta.dirname, "../../wrangler.toml");

/** vitest global setup: builds the Worker once per run for `startBuiltService()`. */
export async function setup(): Promise<() => Promise<void>> {
  const bundle = await mkdtemp(join(tmpdir(), "parley-bundle-"));
  await buildWorker({ config: WORKER_CONFIG, bundle });
  process.env[WORKER_BUNDLE] = bundle;
  return () => rm(bundle, { recursive: true, force: true });
}
