import { createServer, request as httpRequest } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { text } from "node:stream/consumers";
import { setTimeout } from "node:timers/promises";

/**
 * Faults between the service and its database. `drop`: closed before a byte is read. `reset`: reset during the
 * request. `hang`: no response. `delay`: a late response. `cut`: forwarded and committed, but the response is lost.
 * An SQLSTATE is returned as an error of Postgres. `pass` is no fault.
 */
export type Fault = "pass" | "drop" | "reset" | "hang" | "delay" | "cut" | { sqlState: string };

export type DatabaseProxy = {
  /** For `NEON_ENDPOINT`. */
  url: string;
  /** All requests received. */
  readonly requests: number;
  /** Requests forwarded since the last `forget`; each is one transaction. */
  readonly forwarded: number;
  forget(): void;
  /** How often a fault was applied, since an unused one proves nothing. */
  felt(fault: Fault): number;
  /** Sets the faults of the next requests, one each. */
  next(...faults: Fault[]): void;
  /** Sets the fault of all requests until `back`. */
  always(fault: Fault): void;
  /** Closes the port: open connections are cut, new ones refused. */
  leave(): Promise<void>;
  /** Ends all faults. */
  back(): Promise<void>;
  close(): Promise<void>;
};

const DELAY_MS = 2_000;

/** A forwarded request: its body, and the database's response. */
export type Exchange = { query: string; status: number; answer: string };

export type DatabaseProxyOptions = {
  /** Called after the database has answered; the response is sent when it resolves. */
  answered?: (exchange: Exchange) => Promise<void>;
};

/** A proxy on loopback between a service and the `/sql` endpoint that injects faults. */
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
    // The caller has closed its end.
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
      // Ends hanging requests.
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
