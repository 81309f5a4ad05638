import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { requireLocalDriver } from "./access.ts";
import { renderResult } from "./response.ts";
import type { Backend } from "./backend.ts";
import { DatabaseFailure } from "./errors.ts";
import { parseRequest } from "./request.ts";

const REQUEST_LIMIT_BYTES = 10 * 1024 * 1024;
/** Longer than clients keep idle connections, so that no request meets a connection that is being closed. */
const KEEP_ALIVE_MS = 600_000;

/** One `/sql` request, which is one round trip; a batch is one transaction. */
export type ObservedRequest = {
  queries: string[];
  batch: boolean;
};

export type EndpointOptions = {
  backend: Backend;
  /** 0 takes any free port. */
  port?: number;
  onRequest?: (request: ObservedRequest) => void;
};

export type Endpoint = {
  /** `http://127.0.0.1:NNNN/sql`, for NEON_ENDPOINT or `neonConfig.fetchEndpoint`. */
  url: string;
  port: number;
  /** Closes the listener, its connections and the backend. */
  close(): Promise<void>;
};

/**
 * Starts a Neon-compatible `/sql` endpoint on loopback: the HTTP protocol of `@neondatabase/serverless` as Neon's proxy
 * implements it (neondatabase/neon, proxy/src/serverless/sql_over_http.rs). The connection string of a request is
 * ignored: there is one database.
 */
export async function startEndpoint({ backend, port = 0, onRequest }: EndpointOptions): Promise<Endpoint> {
  const server = createServer((request, response) => {
    answer(backend, onRequest, request, response).catch((error: unknown) => sendFailure(response, error));
  });
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  await listen(server, port);
  const address = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${address.port}/sql`,
    port: address.port,
    close: async () => {
      const closed = server.listening ? new Promise<void>((resolve) => server.close(() => resolve())) : undefined;
      await backend.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  backend: Backend,
  onRequest: EndpointOptions["onRequest"],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.url?.split("?")[0] !== "/sql") return send(response, 404, { message: "not found" });
  if (request.method !== "POST") return send(response, 405, { message: "query is not supported" });
  requireLocalDriver(request.headers);

  const disconnect = new AbortController();
  response.on("close", () => {
    if (!response.writableFinished) disconnect.abort();
  });
  const { work, batch, statements, shapes } = parseRequest(await readBody(request), request.headers);
  onRequest?.({ queries: statements.map(({ query }) => query), batch });
  const results = await backend.run(work, disconnect.signal);
  const bodies = results.map((result, index) => {
    return renderResult(result, shapes[index] ?? { rawText: true, arrayMode: true });
  });
  send(response, 200, batch ? { results: bodies } : bodies[0]);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    // Drain the rest unkept: a client that is still writing would see a reset instead of the 413.
    if (size <= REQUEST_LIMIT_BYTES) chunks.push(chunk);
  }
  if (size <= REQUEST_LIMIT_BYTES) return Buffer.concat(chunks).toString("utf8");
  throw new DatabaseFailure(`request is too large (max is ${REQUEST_LIMIT_BYTES} bytes)`, {}, 413);
}

function sendFailure(response: ServerResponse, error: unknown): void {
  if (error instanceof DatabaseFailure) return send(response, error.status, error);
  send(response, 500, new DatabaseFailure(error instanceof Error ? error.message : String(error), {}, 500));
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  const text = JSON.stringify(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(text) });
  response.end(text);
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", reject);
      resolve();
    });
  });
}
