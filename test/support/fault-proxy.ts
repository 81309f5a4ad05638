import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * What goes wrong between the service and its database.
 * `refuse`: the connection is closed before anything is read, as by a server that is down. `hang`: never an answer.
 * `delay`: an answer, but late. `reset`: cut before the request is forwarded. `cut`: forwarded and committed, and the
 * answer is lost: the caller can't know.
 */
export type Fault = "refuse" | "hang" | "delay" | "reset" | "cut";

export type FaultProxy = {
  url: string;
  /** From now on; null for none. */
  set(fault: Fault | null): void;
  /** How often a fault was really felt: one that was not proves nothing. */
  felt: Record<Fault, number>;
  /** Requests that were forwarded: each is one transaction. */
  forwarded: { batch: boolean }[];
  close(): Promise<void>;
};

const DELAY_MS = 2_000;

/** A proxy in front of the database's `/sql` endpoint that fails as it is told. `target` is asked for at each request. */
export async function startFaultProxy(target: () => string): Promise<FaultProxy> {
  let fault: Fault | null = null;
  const felt: Record<Fault, number> = { refuse: 0, hang: 0, delay: 0, reset: 0, cut: 0 };
  const forwarded: { batch: boolean }[] = [];
  const hanging = new Set<ServerResponse>();

  const server = createServer(async (request, response) => {
    const now = fault;
    if (now !== null) felt[now] += 1;
    if (now === "refuse") return void request.socket.destroy();
    const body = await bodyOf(request);
    if (now === "reset") return void request.socket.resetAndDestroy();
    if (now === "hang") return void hanging.add(response);
    if (now === "delay") await new Promise((resolve) => setTimeout(resolve, DELAY_MS));
    forwarded.push({ batch: body.includes('"queries"') });
    const answer = await fetch(target(), { method: "POST", headers: headersOf(request), body });
    const text = await answer.text();
    if (now === "cut") return void request.socket.destroy();
    response
      .writeHead(answer.status, { "Content-Type": answer.headers.get("Content-Type") ?? "application/json" })
      .end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/sql`,
    set: (next) => {
      fault = next;
      for (const response of hanging) response.destroy();
      hanging.clear();
    },
    felt,
    forwarded,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** The driver's own headers; those of the connection are made anew. */
const headersOf = (request: IncomingMessage): Record<string, string> =>
  Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) =>
      name.startsWith("neon-") && typeof value === "string" ? [[name, value]] : [],
    ),
  );
