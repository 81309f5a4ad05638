import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { parseConfig } from "../src/config.ts";
import type { Backend } from "./neon-proxy/backend.ts";
import { DEMO_INSTANCES } from "./database/demo.ts";
import { EmbeddedBackend } from "./neon-proxy/pglite.ts";
import { startEndpoint } from "./neon-proxy/server.ts";
import { migrate } from "./database/migrate.ts";
import { PostgresBackend } from "./neon-proxy/postgres.ts";
import { isEmpty, seed } from "./database/seed.ts";
import { readSettings, workerVariables } from "./dev/configuration.ts";
import type { DevSettings } from "./dev/configuration.ts";
import { lockState } from "./dev/lock.ts";
import { requireFreePort } from "./dev/port.ts";
import { startWorker } from "./dev/worker.ts";
import type { RunningWorker } from "./dev/worker.ts";

// npm run dev: database and Worker on this machine, until a signal ends both.

/** Time for the guard of a killed run to release the port. */
const CRASH_PORT_WAIT_MS = 8000;
const PARENT_WATCH_MS = 200;

/** Stop functions of everything started; called in reverse order. */
const started: (() => void | Promise<void>)[] = [];
const stopping = new AbortController();

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => void shutDown(0));
}

// npm forwards a signal to its shell only, which may end without forwarding it: watch the parent.
if (process.env["npm_lifecycle_event"] !== undefined) {
  const parent = process.ppid;
  setInterval(() => void (process.ppid === parent || shutDown(0)), PARENT_WATCH_MS).unref();
}

try {
  await start(readSettings(process.env));
} catch (error) {
  if (!stopping.signal.aborted) console.error(error instanceof Error ? error.message : String(error));
  await shutDown(1);
}

async function start(settings: DevSettings): Promise<void> {
  // Reports configuration errors at start. The database's real address is not known yet, so a placeholder stands in.
  parseConfig(workerVariables(process.env, "http://127.0.0.1/sql"));
  const lock = lockState(settings.stateDir);
  started.push(() => lock.release());
  await requireFreePort("PORT", settings.port, lock.afterCrash ? CRASH_PORT_WAIT_MS : 0);
  if (settings.databasePort !== 0) await requireFreePort("DB_PORT", settings.databasePort);

  const backend = await openDatabase(settings);
  started.push(() => backend.close());
  await migrate(backend);
  if (await isEmpty(backend)) await seed(backend);
  stopping.signal.throwIfAborted();
  const endpoint = await startEndpoint({ backend, port: settings.databasePort });
  started.push(() => endpoint.close());
  console.log(`database  ${endpoint.url}`);

  const worker = await startWorker({ ...settings, variables: workerVariables(process.env, endpoint.url) });
  started.push(() => worker.stop());
  // A signal during the start has already stopped everything else.
  if (stopping.signal.aborted) await worker.stop();
  void stopWith(worker);

  const url = `http://127.0.0.1:${settings.port}`;
  await waitUntilLive(url);
  console.log(demoCall(url));
  console.log(`ready  ${url}`);
}

async function openDatabase({ databaseUrl, stateDir }: DevSettings): Promise<Backend> {
  if (databaseUrl !== null) return new PostgresBackend({ connectionString: databaseUrl });
  return EmbeddedBackend.open({ folder: join(stateDir, "database") });
}

async function stopWith(worker: RunningWorker): Promise<void> {
  await worker.ended;
  if (stopping.signal.aborted) return;
  console.error("wrangler ended by itself");
  await shutDown(1);
}

async function waitUntilLive(url: string): Promise<void> {
  for (;;) {
    stopping.signal.throwIfAborted();
    // The connection is refused until wrangler listens, and a server error is returned while it builds.
    const response = await fetch(`${url}/live`, { signal: AbortSignal.timeout(2000) }).catch(() => null);
    if (response?.ok) return;
    await setTimeout(100);
  }
}

function demoCall(url: string): string {
  const body = { instance_id: DEMO_INSTANCES[0].id, request_id: "hello-1", content: "Hello" };
  return `try       curl -s ${url}/api/messages -H 'content-type: application/json' -d '${JSON.stringify(body)}'`;
}

/** Stops everything, newest first, and ends the process. A second signal meanwhile has no effect. */
async function shutDown(code: number): Promise<void> {
  if (stopping.signal.aborted) return;
  stopping.abort();
  for (const stop of started.toReversed()) {
    try {
      await stop();
    } catch (error) {
      console.error(error instanceof Error ? error.message : String(error));
    }
  }
  process.exit(code);
}
