import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { workerVariables } from "../../scripts/dev/configuration.ts";
import { startRuntime } from "./built-worker.ts";
import type { TestDatabase } from "./database.ts";
import { freePort, logLines, requestsTo } from "./service.ts";
import type { Environment, Service } from "./service.ts";
import { WORKER_BUNDLE, WORKER_CONFIG } from "./worker-bundle.ts";

export type BuiltServiceOptions = {
  database: TestDatabase;
  /** Added to what `npm run dev` sets by default. */
  env: Environment;
};

/**
 * The built Worker in the runtime it is deployed to, on a free port. It starts in a fraction of the time of
 * `npm run dev`. A crash ends the runtime; the database belongs to the test and stays.
 */
export async function startBuiltService({ database, env: configured }: BuiltServiceOptions): Promise<Service> {
  const bundle = process.env[WORKER_BUNDLE];
  if (bundle === undefined) throw new Error("The global setup has built no Worker");
  const stateDir = await mkdtemp(join(tmpdir(), "parley-service-"));
  const port = await freePort();
  let env = configured;
  let earlier = "";
  const start = () =>
    startRuntime({
      workers: [{ config: WORKER_CONFIG, bundle, port, variables: workerVariables(env, database.endpoint) }],
      stateDir,
      recorded: true,
    });
  let runtime = await start();
  const output = () => earlier + runtime.output();

  return {
    ...requestsTo(`http://127.0.0.1:${port}`),
    query: (sql, params) => database.query(sql, params),
    log: () => logLines(output()),
    output,
    kill: () => runtime.kill(),
    restart: async (more = {}) => {
      await runtime.stop();
      earlier = output();
      env = { ...env, ...more };
      runtime = await start();
    },
    stop: async () => {
      await runtime.stop();
      await rm(stateDir, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
