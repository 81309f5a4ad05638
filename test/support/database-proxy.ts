import { createServer, request as httpRequest } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";

/**
 * What can happen between the service and its database. `drop`: closed before anything is read. `reset`: cut in the middle
 * of the request. `hang`: never an answer. `delay`: an answer, but late. `cut`: forwarded and committed, and the answer is
 * lost, so that the caller can't know. An SQLSTATE is answered as Postgres' own error. `pass` is none.
 */
export type Fault = "pass" | "drop" | "reset" | "hang" | "delay" | "cut" | { sqlState: string };

export type DatabaseProxy = {
  /** For `NEON_ENDPOINT`. */
  url: string;
  /** Requests that came, whatever became of them. */
  readonly requests: number;
  /** Requests that reached the database since the last `forget`: each is one transaction. */
  readonly forwarded: number;
  forget(): void;
  /** How often a fault was felt: one that was not proves nothing. */
  felt(fault: Fault): number;
  /** What happens to the next requests, one fault each. */
  next(...faults: Fault[]): void;
  /** What happens from now on, until `back`. */
  always(fault: Fault): void;
  /** Nobody listens any more: connections are refused, those that are open are cut. */
  leave(): Promise<void>;
  /** All is well again. */
  back(): Promise<void>;
  close(): Promise<void>;
};

const DELAY_MS = 2_000;

/** What went through: the request's body, and the database's answer. */
export type Exchange = { query: string; status: number; answer: string };

export type DatabaseProxyOptions = {
  /** The database has done it and nobody knows yet: the answer is given when this resolves. */
  answered?: (exchange: Exchange) => Promise<void>;
};

/** Stands between a service and the real `/sql` endpoint, on loopback, and fails as it is told. */
export async function startDatabaseProxy(target: string, options: DatabaseProxyOptions = {}): Promise<DatabaseProxy> {
  const faults: Fault[] = [];
  const felt = new Map<Fault, number>();
  const sockets = new Set<Socket>();
  let standing: Fault = "pass";
  let requests = 0;
  let forwarded = 0;

  const server = createServer((request, response) => {
    requests += 1;
    const fault = faults.shift() ?? standing;
    felt.set(fault, (felt.get(fault) ?? 0) + 1);
    // A caller that gave up has closed its end; there is nobody left to fail.
    request.on("error", () => request.socket.destroy());
    if (fault === "drop") request.socket.destroy();
    else if (fault === "reset") request.socket.resetAndDestroy();
    else if (typeof fault === "object") request.resume().on("end", () => refuse(fault.sqlState, response));
    else if (fault !== "hang") {
      forwarded += 1;
      forward(target, request, response, fault, options.answered).catch(() => request.socket.destroy());
    }
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const cutAll = () => {
    for (const socket of sockets) socket.destroy();
  };
  const leave = () =>
    new Promise<void>((resolve) => {
      if (!server.listening) return resolve();
      server.close(() => resolve());
      cutAll();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}/sql`,
    get requests() {
      return requests;
    },
    get forwarded() {
      return forwarded;
    },
    forget: () => {
      forwarded = 0;
    },
    felt: (fault) => felt.get(fault) ?? 0,
    next: (...more) => void faults.push(...more),
    always: (fault) => {
      standing = fault;
    },
    leave,
    back: async () => {
      // Who hangs is let go.
      if (standing === "hang") cutAll();
      standing = "pass";
      if (!server.listening) await listen(port);
    },
    close: leave,
  };
}

function refuse(sqlState: string, response: ServerResponse): void {
  response.writeHead(400, { "Content-Type": "application/json" });
  response.end(JSON.stringify({ message: "told to fail", severity: "ERROR", code: sqlState }));
}

async function forward(
  target: string,
  request: IncomingMessage,
  response: ServerResponse,
  fault: Fault,
  answered: DatabaseProxyOptions["answered"],
): Promise<void> {
  const { host: _, ...headers } = request.headers;
  const query = await text(request);
  if (fault === "delay") await setTimeout(DELAY_MS);
  const onward = httpRequest(target, { method: request.method ?? "POST", headers }, async (answer) => {
    const status = answer.statusCode ?? 502;
    const told = await text(answer);
    if (fault === "cut") {
      request.socket.destroy();
      return;
    }
    await answered?.({ query, status, answer: told });
    response.writeHead(status, answer.headers).end(told);
  });
  onward.on("error", () => request.socket.destroy());
  onward.end(query);
}
