import { Conversation } from "../../durable-objects/conversation.ts";
import { createTestApp } from "./contract.ts";
import type { Deps } from "../../src/deps.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { startDatabaseProxy } from "./database-proxy.ts";
import type { DatabaseProxy } from "./database-proxy.ts";
import { startDatabase } from "./database.ts";
import type { TestDatabase } from "./database.ts";
import { sqliteStorage } from "./sqlite-storage.ts";
import { createDeps } from "../../src/compose.ts";

/** `text` is the body, `body` its JSON. */
type Reply = { status: number; headers: Headers; text: string; body: any };
export type GatewayOptions = {
  env?: Record<string, string>;
  /** The orchestrator; by default the mock of development. */
  orchestrator?: (request: Request) => Promise<Response>;
};

export type Gateway = {
  database: TestDatabase;
  /** Proxy between the service and its database. */
  proxy: DatabaseProxy;
  /** Dependencies of a request. */
  deps(): Deps;
  request(path: string, init: RequestInit): Promise<Reply>;
  get(path: string, authorization?: string): Promise<Reply>;
  send(method: string, path: string, body?: unknown, authorization?: string): Promise<Reply>;
  /** Writes all pending entries, as the queue's consumer does. */
  flush(): Promise<void>;
  /** How often a method was called, of all conversations. */
  calls(method: string): number;
  /** Addresses of all conversations called so far. */
  addresses(): string[];
  /** Restarts every object on its next call, over its storage or an empty one. */
  evictAll(options?: { emptied?: boolean }): void;
  /** Round trips since the last call. */
  roundTrips(): number;
  close(): Promise<void>;
};

/**
 * The whole service in this process: real app, real conversations over SQLite, real database behind its endpoint. Only
 * the platform is missing: `flush()` replaces the queue, and alarms don't run.
 */
export async function startGateway({ env: variables, orchestrator }: GatewayOptions = {}): Promise<Gateway> {
  const database = await startDatabase({ seeded: true });
  const proxy = await startDatabaseProxy(database.endpoint);
  const objects = new Map<string, { storage: ReturnType<typeof objectStorage>; object: object | null }>();
  const calls = new Map<string, number>();
  const env = {
    ENVIRONMENT: "development",
    // Key of the isolate's caches: each gateway is its own isolate.
    DATABASE_URL: `postgresql://test:test@localhost/${crypto.randomUUID()}`,
    NEON_ENDPOINT: proxy.url,
    JWT_SECRET: "parley-development-secret-not-for-production",
    LOG_LEVEL: "error",
    ...variables,
    LEDGER: { send: async () => undefined },
    BROADCAST: { send: async () => undefined },
    BROADCAST_TIMERS: { getByName: () => ({ start: async () => undefined }) },
    RATE_LIMITERS: { getByName: () => ({ lease: async (wanted: number) => ({ granted: wanted, retryAfterMs: 0 }) }) },
    ...(orchestrator === undefined
      ? {}
      : { ORCHESTRATOR: { fetch: (url: string, init: RequestInit) => orchestrator(new Request(url, init)) } }),
    FLOOD: { limit: async () => ({ success: true }) },
    CONVERSATIONS: { getByName: (name: string) => stub(name) },
  } as unknown as Env;

  /** Arguments are copied, as in a call from a Worker to an object. */
  const stub = (name: string) => {
    const at = objects.get(name) ?? { storage: objectStorage(), object: null };
    objects.set(name, at);
    return new Proxy(
      {},
      {
        get:
          (_target, method: string) =>
          async (...args: unknown[]): Promise<unknown> => {
            calls.set(method, (calls.get(method) ?? 0) + 1);
            const ctx = {
              id: { name },
              storage: at.storage,
              waitUntil: () => undefined,
              blockConcurrencyWhile: (work: () => Promise<void>) => work(),
            };
            at.object ??= new Conversation(ctx as unknown as DurableObjectState, env);
            const call = (at.object as Record<string, (...args: unknown[]) => Promise<unknown>>)[method];
            if (call === undefined) throw new Error(`A conversation has no method ${method}`);
            return structuredClone(await call.apply(at.object, structuredClone(args)));
          },
      },
    );
  };

  const app = createTestApp();
  const request = async (path: string, init: RequestInit): Promise<Reply> => {
    const response = await app.request(path, init, env, {
      waitUntil: () => undefined,
      passThroughOnException: () => undefined,
    } as unknown as ExecutionContext);
    const text = await response.text();
    const isJson = response.headers.get("Content-Type")?.startsWith("application/json") ?? false;
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined };
  };
  const headers = (authorization: string | undefined): Record<string, string> =>
    authorization === undefined ? {} : { Authorization: `Bearer ${authorization}` };

  return {
    database,
    proxy,
    deps: () => createDeps(env),
    request,
    get: (path, authorization) => request(path, { headers: headers(authorization) }),
    send: (method, path, body, authorization) =>
      request(path, {
        method,
        headers: { "Content-Type": "application/json", ...headers(authorization) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    flush: () => pullLedger(createDeps(env), [...objects.keys()]),
    calls: (method) => calls.get(method) ?? 0,
    addresses: () => [...objects.keys()],
    evictAll: ({ emptied = false } = {}) => {
      if (emptied) objects.clear();
      for (const at of objects.values()) at.object = null;
    },
    roundTrips: () => {
      const { length } = database.requests;
      database.forget();
      return length;
    },
    close: async () => {
      await proxy.close();
      await database.close();
    },
  };
}

/** SQLite with an alarm that never runs. */
function objectStorage() {
  const storage = sqliteStorage();
  const deleteAll = async () => {
    const tables = storage.sql
      .exec<{ name: string }>("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
      .toArray();
    for (const { name } of tables) storage.sql.exec(`DROP TABLE ${name}`);
  };
  return { ...storage, setAlarm: async () => undefined, getAlarm: async () => null, deleteAll };
}
