import { openAsBlob } from "node:fs";
import { join } from "node:path";
import { EmbeddedBackend } from "../../scripts/neon-proxy/pglite.ts";
import { startEndpoint } from "../../scripts/neon-proxy/server.ts";
import type { ObservedRequest } from "../../scripts/neon-proxy/server.ts";
import { query } from "../../scripts/neon-proxy/backend.ts";
import { migrate } from "../../scripts/database/migrate.ts";
import { PostgresBackend } from "../../scripts/neon-proxy/postgres.ts";
import { seed } from "../../scripts/database/seed.ts";
import { DATABASE_IMAGES } from "./database-image.ts";
import type { ImageKind } from "./database-image.ts";
import { startPostgres } from "./postgres.ts";
import type { PostgresServer } from "./postgres.ts";

export interface TestDatabase {
  /** For `NEON_ENDPOINT` or `neonConfig.fetchEndpoint`. */
  readonly endpoint: string;
  /** Any string that the driver accepts; the endpoint ignores it. */
  readonly connectionString: string;
  /** Rows as Postgres text by column name, read without the driver and not counted as a round trip. */
  query(sql: string, params?: (string | null)[]): Promise<Record<string, string | null>[]>;
  /** True when requests run concurrently, on a Postgres server. */
  readonly isConcurrent: boolean;
  /** Connection string of the server, for a test's own connections; null for the embedded one. */
  readonly server: string | null;
  /** Every request since the last `forget()`: its length is the number of round trips. */
  readonly requests: readonly ObservedRequest[];
  forget(): void;
  /** Called before every request; returns a function that removes the listener. */
  observe(listener: (request: ObservedRequest) => void): () => void;
  close(): Promise<void>;
}

export interface TestDatabaseOptions {
  /** Seeds the demo's brands and instances. */
  readonly seeded?: boolean;
  /** Prefers a Postgres server, which runs requests concurrently, where the machine has one. */
  readonly concurrent?: boolean;
  /** The server to use instead of a new one; stopped with the database. */
  readonly server?: PostgresServer;
}

/**
 * Starts a Postgres in memory with the real migrations, behind the real endpoint on a free port. Loads the image of the
 * global setup (a quarter of a second), or migrates an empty database (three seconds).
 */
export async function startDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { seeded = false, concurrent = false } = options;
  const server = options.server ?? (concurrent ? await startPostgres() : null);
  const backend =
    server === null
      ? await openImage(seeded ? "seeded" : "migrated")
      : await prepare(new PostgresBackend(server), seeded);
  const requests: ObservedRequest[] = [];
  const listeners = new Set<(request: ObservedRequest) => void>();
  const endpoint = await startEndpoint({
    backend,
    onRequest: (request) => {
      requests.push(request);
      for (const listener of listeners) listener(request);
    },
  });
  return {
    endpoint: endpoint.url,
    connectionString: "postgresql://test:test@localhost/test",
    query: async (sql, params = []) => {
      const { fields, rows } = await query(backend, sql, params);
      return rows.map((row) => Object.fromEntries(fields.map(({ name }, index) => [name, row[index] ?? null])));
    },
    isConcurrent: server !== null,
    server: server?.connectionString ?? null,
    requests,
    forget: () => requests.splice(0),
    observe: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close: async () => {
      await endpoint.close();
      await server?.stop();
    },
  };
}

async function prepare(backend: PostgresBackend, seeded: boolean): Promise<PostgresBackend> {
  await migrate(backend);
  if (seeded) await seed(backend);
  return backend;
}

/** Opens an embedded Postgres from the image of this kind. */
export async function openImage(kind: ImageKind): Promise<EmbeddedBackend> {
  const images = process.env[DATABASE_IMAGES];
  if (images !== undefined) return EmbeddedBackend.open({ image: await openAsBlob(join(images, kind)) });
  const backend = await EmbeddedBackend.open();
  if (kind !== "empty") await migrate(backend);
  if (kind === "seeded") await seed(backend);
  return backend;
}
