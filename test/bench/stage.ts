import { fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { buildWorker, startRuntime } from "../support/built-worker.ts";
import type { BuiltWorker, Runtime } from "../support/built-worker.ts";
import { freePort } from "../support/service.ts";
import type { Question } from "./database.ts";

/** All parts of a measurement, each in its own process. */
export type Stage = {
  parley: string;
  floor: string;
  runtime: Runtime;
  workers: { parley: BuiltWorker; floor: BuiltWorker };
  isPostgres: boolean;
  /** True when the runtime has its own core. */
  isPinned: boolean;
  query(sql: string, params?: (string | null)[]): Promise<Record<string, string | null>[]>;
  /** Requests to the database endpoint: each is one round trip and one transaction. */
  requests(): Promise<number>;
  close(): Promise<void>;
};

export type StageOptions = {
  /** Extra configuration: no rate limits, and caches that last an hour. */
  variables?: Record<string, string>;
  /** Another tree of the project; this one by default. */
  root?: string;
  inspectorPort?: number;
};

/** This tree. */
export const ROOT = join(import.meta.dirname, "../..");

/** Builds both Workers and starts them in one runtime on the first core; everything else stays on the others. */
export async function setStage({ variables, root = ROOT, inspectorPort }: StageOptions = {}): Promise<Stage> {
  const cores = cpus().length;
  const isPinned = cores > 1 && pin(process.pid, `1-${cores - 1}`);
  const folder = await mkdtemp(join(tmpdir(), "parley-bench-"));
  const config = { parley: join(root, "wrangler.toml"), floor: join(import.meta.dirname, "floor.toml") };
  const bundle = { parley: join(folder, "parley"), floor: join(folder, "floor") };
  await buildWorker({ config: config.parley, bundle: bundle.parley });
  await buildWorker({ config: config.floor, bundle: bundle.floor });

  const database = fork(join(import.meta.dirname, "database.ts"));
  const [{ endpoint, isPostgres }] = await once(database, "message");
  let queue: Promise<unknown> = Promise.resolve();
  const ask = (question: Question) => {
    const asked = queue.then(async () => {
      const answered = once(database, "message");
      database.send(question);
      return (await answered)[0];
    });
    queue = asked;
    return asked;
  };
  const orchestrator = fork(join(import.meta.dirname, "orchestrator.ts"));
  const [port] = await once(orchestrator, "message");
  const orchestratorUrl = `http://127.0.0.1:${port}/`;

  const parley: BuiltWorker = {
    ...{ config: config.parley, bundle: bundle.parley, port: await freePort() },
    variables: {
      ENVIRONMENT: "development",
      DATABASE_URL: "postgresql://bench:bench@localhost/bench",
      NEON_ENDPOINT: endpoint,
      ORCHESTRATOR_URL: orchestratorUrl,
      JWT_SECRET: "parley-development-secret-not-for-production",
      WHATSAPP_APP_SECRET: "parley-dev-app-secret",
      RATE_LIMIT_USER_PER_MINUTE: "0",
      RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
      INSTANCE_CACHE_SECONDS: "3600",
      ...variables,
    },
  };
  const floor: BuiltWorker = {
    ...{ config: config.floor, bundle: bundle.floor, port: await freePort() },
    variables: { ORCHESTRATOR_URL: orchestratorUrl, NEON_ENDPOINT: endpoint },
  };
  const runtime = await startRuntime({
    ...{ stateDir: join(folder, "state"), workers: [parley, floor] },
    ...(inspectorPort === undefined ? {} : { inspectorPort }),
  });
  if (isPinned) pin(runtime.workerd(), "0");

  return {
    parley: `http://127.0.0.1:${parley.port}`,
    floor: `http://127.0.0.1:${floor.port}`,
    ...{ runtime, workers: { parley, floor }, isPostgres, isPinned },
    query: async (sql, params = []) => ask({ sql, params }),
    requests: async () => ask("requests"),
    close: async () => {
      await runtime.stop();
      const ended = [once(database, "exit"), once(orchestrator, "exit")];
      for (const child of [database, orchestrator]) child.disconnect();
      await Promise.all(ended);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Pins a process and its threads to these cores, where the machine supports it. */
function pin(pid: number, cores: string): boolean {
  // A thread that ends meanwhile makes `taskset` fail after it has pinned the others.
  const move = () => spawnSync("taskset", ["-a", "-c", "-p", cores, String(pid)]).status === 0;
  return move() || move() || move();
}
