import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { freePort } from "../support/service.ts";
import { startRuntime } from "../support/built-worker.ts";
import type { BuiltWorker } from "../support/built-worker.ts";
import { median, send } from "./load.ts";

export type BundleSize = { bytes: number; gzip: number };

/** The uploaded bundle. */
export async function bundleSize(folder: string): Promise<BundleSize> {
  const code = await readFile(join(folder, "index.js"));
  return { bytes: code.length, gzip: gzipSync(code).length };
}

/** Milliseconds from the start of a runtime with only this Worker to its first response; median of five. */
export async function startUp(worker: BuiltWorker, path: string): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const stateDir = await mkdtemp(join(tmpdir(), "parley-start-"));
    const port = await freePort();
    const start = performance.now();
    const runtime = await startRuntime({ workers: [{ ...worker, port }], stateDir });
    await send({ method: "GET", url: `http://127.0.0.1:${port}${path}` });
    times.push(performance.now() - start);
    await runtime.stop();
    await rm(stateDir, { recursive: true, force: true });
  }
  return median(times);
}
