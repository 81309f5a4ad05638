import { vi } from "vitest";
import { createTestApp } from "./contract.ts";
import type { Deps } from "../../src/deps.ts";
import { pullLedger } from "../../src/flows/pull-ledger.ts";
import { startDatabaseProxy } from "./database-proxy.ts";
import type { DatabaseProxy } from "./database-proxy.ts";
import { startDatabase } from "./database.ts";
import type { TestDatabase } from "./database.ts";
import { sqliteStorage } from "./sqlite-storage.ts";
import { createDeps } from "../../src/compose.ts";

/** The platform's base class and nothing else of it: what the objects are built on. */
vi.doMock("cloudflare:workers", () => ({
  DurableObject: class {
    readonly ctx: unknown;
    readonly env: unknown;
    constructor(ctx: unknown, env: unknown) {
      this.ctx = ctx;
      this.env = env;
    }
  },
}));

/** `text` is the body as it came, `body` the same as JSON. */
type Reply = { status: number; headers: Headers; text: string; body: any };
export type GatewayOptions = {
  env?: Record<string, string>;
  /** What answers messages; the mock of development when left out. */
  orchestrator?: (request: Request) => Promise<Response>;
};

export type Gateway = {
  database: TestDatabase;
  /** Between the service and its database: all is well unless it is told otherwise. */
  proxy: DatabaseProxy;
  /** What a request is given. */
  deps(): Deps;
  request(path: string, init: RequestInit): Promise<Reply>;
  get(path: string, authorization?: string): Promise<Reply>;
  send(method: string, path: string, body?: unknown, authorization?: string): Promise<Reply>;
  /** Everything that waits in any conversation is written, as the queue's consumer would. */
  flush(): Promise<void>;
  /** The addresses whose conversations have ever been asked something. */
  addresses(): string[];
  /** Every object is made anew over its storage when it is next asked; or without one, as if it had emptied itself. */
  evictAll(options?: { emptied?: boolean }): void;
  /** How often the database was asked since the last time. */
  roundTrips(): number;
  close(): Promise<void>;
};

/**
 * The whole service in this process: the real app, the real conversations over SQLite, the real database behind its
 * endpoint. Only the platform is missing: the queue is rung by `flush()`, alarms don't go off.
 */
export async function startGateway({ env: variables, orchestrator }: GatewayOptions = {}): Promise<Gateway> {
  const { Conversation } = await import("../../durable-objects/conversation.ts");
  const database = await startDatabase({ seeded: true });
  const proxy = await startDatabaseProxy(database.endpoint);
  const objects = new Map<string, { storage: ReturnType<typeof objectStorage>; object: object | null }>();
  const env = {
    ENVIRONMENT: "development",
    // Names the isolate's caches: each gateway is an isolate of its own.
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

  /** Calls go over a copy, as they do between a Worker and an object. */
  const stub = (name: string) => {
    const at = objects.get(name) ?? { storage: objectStorage(), object: null };
    objects.set(name, at);
    return new Proxy(
      {},
      {
        get:
          (_target, method: string) =>
          async (...args: unknown[]): Promise<unknown> => {
            const ctx = { id: { name }, storage: at.storage, waitUntil: () => undefined };
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

/** SQLite with an alarm that nobody rings. */
function objectStorage() {
  const storage = sqliteStorage();
  return { ...storage, setAlarm: async () => undefined, deleteAll: async () => undefined };
}
