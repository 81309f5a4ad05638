import { createServer } from "node:http";
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { gzipSync } from "node:zlib";

/** What the stand-in was asked. */
export type OrchestratorCall = { headers: IncomingHttpHeaders; adapter: Record<string, any>; at: number };

/** Answers one call. Whatever a broken service does to a socket can be done here. */
export type Behaviour = (call: OrchestratorCall, response: ServerResponse) => void | Promise<void>;

export type OrchestratorStandIn = {
  url: string;
  calls: OrchestratorCall[];
  /** From now on. */
  behave(behaviour: Behaviour): void;
  close(): Promise<void>;
};

const json = (response: ServerResponse, body: unknown, status = 200): void => {
  response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
};

/** Replies by echo, with usage: what a well-behaved orchestrator does. */
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

/** Keeps everybody waiting until it is opened. */
export function gate(then: Behaviour = echo): { behaviour: Behaviour; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const behaviour: Behaviour = async (call, response) => {
    await promise;
    await then(call, response);
  };
  return { behaviour, open: resolve };
}

/** Takes the question and never says anything. */
export const hang: Behaviour = () => undefined;

/** Hangs up in the middle of the question. */
export const reset: Behaviour = (_call, response) => void response.socket?.destroy();

export const garbage: Behaviour = (_call, response) => void response.writeHead(200).end("<html>not JSON</html>");

/** Begins a good answer and hangs up before its end. */
export const breakOff: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json", "Content-Length": "1000" });
  response.write('{"text": "I was about to', () => response.socket?.destroy());
};

/** Sends elsewhere, as a login page in front of a service does. */
export const redirect: Behaviour = (_call, response) => void response.writeHead(302, { Location: "/login" }).end();

/** A byte of white space every few milliseconds: never silent, never done. */
export const drip: Behaviour = (_call, response) => {
  response.writeHead(200, { "Content-Type": "application/json" });
  const timer = setInterval(() => response.write(" "), 20);
  response.on("close", () => clearInterval(timer));
};

/** A few kilobytes over the network, and more than anybody may say once they are unpacked. */
export const packed: Behaviour = (_call, response) => {
  const body = gzipSync(JSON.stringify({ text: "x".repeat(3 * 1024 * 1024) }));
  response.writeHead(200, { "Content-Encoding": "gzip", "Content-Length": body.length }).end(body);
};

/** An answer without end, as fast as it is taken. */
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

/** A local server in the orchestrator's place: it records what it is given and answers as it is told. */
export async function startOrchestrator(): Promise<OrchestratorStandIn> {
  const calls: OrchestratorCall[] = [];
  let behaviour: Behaviour = echo;
  const server = createServer(async (request, response) => {
    // Whoever died in the middle of the question has asked nothing.
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
