import { createServer, request as httpRequest } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** What can happen between the service and its database. An SQLSTATE is answered as Postgres' own error; `pass` is no fault. */
export type Fault = "pass" | "drop" | "hang" | { sqlState: string };

export type DatabaseProxy = {
  /** For `NEON_ENDPOINT`. */
  url: string;
  /** Requests that came, whatever became of them. */
  readonly requests: number;
  /** What happens to the next requests, one fault each. */
  next(...faults: Fault[]): void;
  /** From now on every request hangs, until `back`. */
  hang(): void;
  /** Nobody listens any more: connections are refused, those that are open are cut. */
  leave(): Promise<void>;
  /** All is well again. */
  back(): Promise<void>;
  close(): Promise<void>;
};

/** Stands between a service and the real `/sql` endpoint, on loopback, and fails as it is told. */
export async function startDatabaseProxy(target: string): Promise<DatabaseProxy> {
  const faults: Fault[] = [];
  const sockets = new Set<Socket>();
  let hangs = false;
  let requests = 0;

  const server = createServer((request, response) => {
    requests += 1;
    const fault = hangs ? "hang" : (faults.shift() ?? "pass");
    if (fault === "pass") forward(target, request, response);
    else fail(fault, request, response);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  const listen = (port: number) => new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const leave = () =>
    new Promise<void>((resolve) => {
      if (!server.listening) return resolve();
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  await listen(0);
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}/sql`,
    get requests() {
      return requests;
    },
    next: (...more) => void faults.push(...more),
    hang: () => {
      hangs = true;
    },
    leave,
    back: async () => {
      hangs = false;
      if (!server.listening) await listen(port);
    },
    close: leave,
  };
}

function fail(fault: Exclude<Fault, "pass">, request: IncomingMessage, response: ServerResponse): void {
  if (fault === "drop") return void request.socket.destroy();
  if (fault === "hang") return;
  request.resume().on("end", () => {
    response.writeHead(400, { "Content-Type": "application/json" });
    response.end(JSON.stringify({ message: "told to fail", severity: "ERROR", code: fault.sqlState }));
  });
}

function forward(target: string, request: IncomingMessage, response: ServerResponse): void {
  const { host: _, ...headers } = request.headers;
  const onward = httpRequest(target, { method: request.method ?? "POST", headers }, (answer) => {
    response.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(response);
  });
  onward.on("error", () => request.socket.destroy());
  request.pipe(onward);
}
