import pg from "pg";
import type { Backend, Statement, StatementResult, Work } from "./backend.ts";
import { DatabaseFailure, toDatabaseFailure, clientDisconnected, shuttingDown } from "./errors.ts";
import { runWork } from "./transaction.ts";

export type PostgresOptions = {
  connectionString: string;
  /** Minimum and maximum size of the pool. */
  keep?: number;
  max?: number;
  acquireTimeoutMs?: number;
};

const RECYCLE_AFTER_SECONDS = 1800;
const PING_TIMEOUT_MS = 5000;
/** Values stay Postgres text: the driver in the client parses them. */
const AS_TEXT: pg.CustomTypesConfig = { getTypeParser: () => (value: string) => value };

/** A Postgres server behind a pool. Requests run concurrently, each on its own connection. */
export class PostgresBackend implements Backend {
  readonly #pool: pg.Pool;
  readonly #acquireTimeoutMs: number;
  readonly #connectionString: string;
  readonly #used = new WeakSet<pg.PoolClient>();
  #closing: Promise<void> | null = null;

  constructor(options: PostgresOptions) {
    this.#connectionString = options.connectionString;
    this.#acquireTimeoutMs = options.acquireTimeoutMs ?? 30_000;
    this.#pool = new pg.Pool({
      connectionString: options.connectionString,
      min: options.keep ?? 5,
      max: options.max ?? 15,
      connectionTimeoutMillis: this.#acquireTimeoutMs,
      maxLifetimeSeconds: RECYCLE_AFTER_SECONDS,
      types: AS_TEXT,
      // Typed as void, but the pool awaits it before it hands the connection out.
      onConnect: (client) => client.query("SET TIME ZONE 'UTC'") as unknown as undefined,
    });
    // The pool replaces an idle connection that drops; without a listener Node would end the process.
    this.#pool.on("error", () => undefined);
  }

  async run(work: Work, signal?: AbortSignal): Promise<StatementResult[]> {
    const client = await this.#acquire();
    if (signal?.aborted) {
      client.release();
      throw clientDisconnected();
    }
    const cancel = () => void this.#cancel(client);
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      return await runWork({ execute: (statement) => execute(client, statement) }, work, signal);
    } catch (error) {
      throw signal?.aborted ? clientDisconnected() : toDatabaseFailure(error);
    } finally {
      signal?.removeEventListener("abort", cancel);
      // Discards a connection that a late cancel request could still hit, or that a lone BEGIN left in a transaction.
      client.release(signal?.aborted === true || client.getTransactionStatus() !== "I");
    }
  }

  close(): Promise<void> {
    this.#closing ??= this.#pool.end();
    return this.#closing;
  }

  /** Returns a connection that responds; one that dropped while idle is discarded without an error. */
  async #acquire(): Promise<pg.PoolClient> {
    const deadline = performance.now() + this.#acquireTimeoutMs;
    for (;;) {
      if (this.#closing !== null) throw shuttingDown();
      const client = await this.#connect(deadline);
      if (!this.#used.has(client)) {
        this.#used.add(client);
        client.on("error", () => undefined);
        return client;
      }
      try {
        const ping: pg.QueryConfig & { query_timeout: number } = { text: "SELECT 1", query_timeout: PING_TIMEOUT_MS };
        await client.query(ping);
        return client;
      } catch {
        client.release(true);
      }
    }
  }

  async #connect(deadline: number): Promise<pg.PoolClient> {
    try {
      return await this.#pool.connect();
    } catch (error) {
      const failure = toDatabaseFailure(error);
      if (failure.code?.length === 5) throw failure;
      // The pool's two timeouts (pool exhausted, server silent) have no code: the clock tells them from a refusal.
      if (performance.now() >= deadline - 50) {
        throw new DatabaseFailure(`no database connection within ${this.#acquireTimeoutMs} ms`, {
          code: "53300",
          severity: "FATAL",
        });
      }
      throw new DatabaseFailure(`could not connect to the database: ${failure.message}`, {}, 500);
    }
  }

  async #cancel(client: pg.PoolClient): Promise<void> {
    const pid: unknown = Reflect.get(client, "processID");
    const canceller = new pg.Client({
      connectionString: this.#connectionString,
      connectionTimeoutMillis: PING_TIMEOUT_MS,
    });
    try {
      await canceller.connect();
      await canceller.query("SELECT pg_cancel_backend($1)", [pid]);
    } catch {
      // The client has disconnected, so a statement that can't be cancelled may run to its end.
    } finally {
      await canceller.end().catch(() => undefined);
    }
  }
}

async function execute(client: pg.PoolClient, statement: Statement): Promise<StatementResult> {
  // "extended" even without parameters: the simple protocol would run several commands in one string, Neon doesn't.
  const config: pg.QueryArrayConfig & { queryMode: "extended" } = {
    text: statement.query,
    values: [...statement.params],
    rowMode: "array",
    queryMode: "extended",
  };
  const result = await client.query<(string | null)[]>(config);
  return {
    command: result.command ?? "",
    rowCount: result.rowCount,
    fields: result.fields.map(({ name, dataTypeID, tableID, columnID, dataTypeSize, dataTypeModifier }) => {
      return { name, dataTypeID, tableID, columnID, dataTypeSize, dataTypeModifier };
    }),
    rows: result.rows,
  };
}
