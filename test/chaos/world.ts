import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { DatabaseFailure } from "../../scripts/neon-proxy/errors.ts";
import { buildWorker, startRuntime } from "../support/built-worker.ts";
import type { Runtime } from "../support/built-worker.ts";
import { startDatabaseProxy } from "../support/database-proxy.ts";
import type { DatabaseProxy } from "../support/database-proxy.ts";
import { startDatabase } from "../support/database.ts";
import type { TestDatabase } from "../support/database.ts";
import { startGraphApi } from "../support/graph-api.ts";
import type { GraphApi } from "../support/graph-api.ts";
import { borrowPostgres } from "../support/postgres.ts";
import { freePort } from "../support/service.ts";
import { startControl } from "./control.ts";
import type { Control } from "./control.ts";
import type { Interruption } from "./evidence.ts";
import { startRecordingOrchestrator } from "./orchestrator.ts";
import type { RecordingOrchestrator } from "./orchestrator.ts";
import type { Random } from "./random.ts";

/** The service and its stand-ins. Only the service can be killed. */
export type World = {
  url: string;
  database: TestDatabase;
  /** Proxy between the service and its database. */
  proxy: DatabaseProxy;
  orchestrator: RecordingOrchestrator;
  graph: GraphApi;
  control: Control;
  interruptions: Interruption[];
  /** Queries the database directly, repeated while a fault prevents it. */
  query: TestDatabase["query"];
  /** Count of each SQLSTATE that Postgres itself returned. */
  refusals: Map<string, number>;
  /** Kills the service (SIGKILL) and restarts it on its state. Resolves when it answers; concurrent calls are serialised. */
  crash(): Promise<void>;
  /** Evicts a conversation's object from memory; false when it is not loaded, or busy. */
  evict(address: string): Promise<boolean>;
  /** Counts pending entries in the outboxes of all conversations. */
  waiting(): Promise<number>;
  /** Output of the service. */
  output(): string;
  close(): Promise<void>;
};

const ROOT = join(import.meta.dirname, "../..");
const CONFIG = join(ROOT, "wrangler.toml");
const ENTRY = join(import.meta.dirname, "worker.ts");

/** Timeout of the orchestrator. */
export const ORCHESTRATOR_TIMEOUT_MS = 1_500;

/** Shorter than the orchestrator's timeout, so that a repeated request takes over a run that still waits for its reply. */
export const LEASE_MS = 1_000;

/** Postgres refuses content with this text, so its entry can never be written. */
export const POISON = "(poison)";

/**
 * Starts everything on loopback. Postgres is a new database in the server at `DATABASE_URL`, or a new server where the
 * machine has the programs, or else (and on request) the embedded one.
 */
export async function startWorld(random: Random, { embedded = false } = {}): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "parley-chaos-"));
  const bundle = join(folder, "bundle");
  const { DATABASE_URL } = process.env;
  const server = DATABASE_URL && !embedded ? { server: await borrowPostgres(DATABASE_URL) } : {};
  const [database, control, graph, port] = await Promise.all([
    startDatabase({ seeded: true, concurrent: !embedded, ...server }),
    startControl(),
    startGraphApi(),
    freePort(),
    buildWorker({ config: CONFIG, entry: ENTRY, bundle }),
  ]);
  await database.query(`alter table messages add constraint chaos_poison check (content not like '%${POISON}%')`);
  const refusals = new Map<string, number>();
  const proxy = await startDatabaseProxy(database.endpoint, {
    answered: async ({ query, status, answer }) => {
      if (status >= 400) count(refusals, codeIn(answer));
      else if (query.includes("insert into idempotency_locks")) await control.reach("after-batch", "");
    },
  });
  const orchestrator = await startRecordingOrchestrator(control, random);
  const url = `http://127.0.0.1:${port}`;
  graph.webhook = `${url}/webhooks/whatsapp`;
  const variables = {
    ENVIRONMENT: "development",
    // Development's secrets, but credentials are required.
    AUTH_MODE: "required",
    JWT_SECRET: "parley-development-secret-not-for-production",
    WHATSAPP_APP_SECRET: "parley-dev-app-secret",
    WHATSAPP_ACCESS_TOKEN: "EAAtoken",
    WHATSAPP_API_BASE: graph.url,
    DATABASE_URL: database.connectionString,
    NEON_ENDPOINT: proxy.url,
    ORCHESTRATOR_TIMEOUT_MS: String(ORCHESTRATOR_TIMEOUT_MS),
    LOCK_EXPIRY_SECONDS: String(LEASE_MS / 1000),
    RATE_LIMIT_USER_PER_MINUTE: "0",
    RATE_LIMIT_INSTANCE_PER_MINUTE: "0",
    LOG_LEVEL: "warn",
    CHAOS_CONTROL: control.url,
    CHAOS_ORCHESTRATOR: orchestrator.url,
  };
  const start = (): Promise<Runtime> =>
    startRuntime({
      workers: [{ config: CONFIG, entry: ENTRY, bundle, port, variables }],
      stateDir: join(folder, "state"),
      recorded: true,
    });
  const interruptions: Interruption[] = [];
  let runtime = await start();
  let before = "";
  let crashing: Promise<void> = Promise.resolve();

  return {
    url,
    database,
    proxy,
    orchestrator,
    graph,
    control,
    interruptions,
    query: (sql, params) => persistently(() => database.query(sql, params)),
    refusals,
    crash: () => {
      crashing = crashing.then(async () => {
        interruptions.push({ at: Date.now(), address: null });
        await runtime.kill();
        before += runtime.output();
        // Requests that were on their way to the stand-ins during the kill have arrived by now.
        interruptions.push({ at: Date.now(), address: null });
        runtime = await start();
      });
      return crashing;
    },
    evict: (address) => runtime.evict("parley", "Conversation", address),
    waiting: async () => {
      const body = JSON.stringify([...control.addresses]);
      const response = await fetch(`${url}/chaos/waiting`, { method: "POST", body });
      return response.ok ? ((await response.json()) as number) : Number.NaN;
    },
    output: () => before + runtime.output(),
    close: async () => {
      await crashing.catch(() => undefined);
      await runtime.kill();
      await Promise.all([proxy.close(), orchestrator.close(), graph.close(), control.close()]);
      await database.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Repeats work until it succeeds: the active fault ends soon. */
async function persistently<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof DatabaseFailure) || attempt === 100) throw error;
      await setTimeout(200);
    }
  }
}

export const count = <K>(counts: Map<K, number>, key: K): void => void counts.set(key, (counts.get(key) ?? 0) + 1);

function codeIn(answer: string): string {
  try {
    return (JSON.parse(answer) as { code?: string }).code ?? "none";
  } catch {
    return "none";
  }
}
