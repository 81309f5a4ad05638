import { createServer } from "node:http";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";

/** A call of the stand-in. */
export type OrchestratorCall = { headers: IncomingHttpHeaders; adapter: Record<string, any>; at: number };

/** Answers one call, with access to the socket so that any fault is possible. */
export type Behaviour = (call: OrchestratorCall, response: ServerResponse) => void | Promise<void>;

export type OrchestratorStandIn = {
  url: string;
  calls: OrchestratorCall[];
  /** Sets the behaviour of later calls. */
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
};

const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
};

/** Echoes the message, with usage, as a valid orchestrator response. */
export const echo: Behaviour = ({ adapter }, response) =>
  json(response, {
    text: `echo: ${adapter.message.content}`,
    token_usage: { prompt_tokens: 12, completion_tokens: 34 },
  });

export const answerWith =
  (body: unknown, status = 200): Behaviour =>
  (_call, response) =>
    json(response, body, status);

export const after =
  (ms: number, then: Behaviour = echo): Behaviour =>
  async (call, response) => {
    await new Promise((resolve) => setTimeout(resolve, ms));
    await then(call, response);
  };

/** Holds all responses until it is opened. */
export function gate(then: Behaviour = echo): { behaviour: Behaviour; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const behaviour: Behaviour = async (call, response) => {
    await promise;
    await then(call, response);
  };
  return { behaviour, open: resolve };
}

/** Reads the request and never responds. */
export const hang: Behaviour = () => undefined;

/** Closes the connection during the request. */
export const reset: Behaviour = (_call, response) => void response.socket?.destroy();

export const garbage: Behaviour = (_call, response) => void response.writeHead(200).end("<html>not JSON</html>");

/** Closes the connection during a valid response. */
export const breakOff: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json", "Content-Length": "1000" });
  response.write('{"text": "I was about to', () => response.socket?.destroy());
};

/** Redirects, as a login page in front of a service does. */
export const redirect: Behaviour = (_call, response) => void response.writeHead(302, { Location: "/login" }).end();

/** Sends a byte of white space every few milliseconds for ever. */
export const drip: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json" });
  const timer = setInterval(() => response.write(" "), 20);
  response.on("close", () => clearInterval(timer));
};

/** A few kilobytes over the network that exceed the limit once decompressed. */
export const packed: Behaviour = (_call, response) => {
  const body = gzipSync(JSON.stringify({ text: "x".repeat(3 * 1024 * 1024) }));
  response.writeHead(200, { "Content-Encoding": "gzip", "Content-Length": body.length }).end(body);
};

/** An endless response, as fast as it is read. */
export const endless: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json" });
  const chunk = " ".repeat(65_536);
  const write = (): void => {
    let taken = true;
    while (taken && !response.destroyed) taken = response.write(chunk);
  };
  response.on("drain", write);
  write();
};

/** A local stand-in for the orchestrator that records its calls. */
export async function startOrchestrator(): Promise<OrchestratorStandIn> {
  const calls: OrchestratorCall[] = [];
  let behaviour: Behaviour = echo;
  const server = createServer(async (request, response) => {
    // A caller that died during the request has made no call.
    const body = await text(request).catch(() => null);
    if (body === null) return;
    const call = { headers: request.headers, adapter: JSON.parse(body), at: Date.now() };
    calls.push(call);
    await behaviour(call, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    calls,
    behave: (next) => {
      behaviour = next;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
