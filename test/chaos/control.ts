import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { Verdict } from "./worker.ts";

/** The named points of a turn, in order. */
export const POINTS = [
  /** The message is admitted; the request to the orchestrator is not sent. */
  "after-admit",
  /** The orchestrator has the request and has not answered. */
  "during-orchestrator",
  /** Reply and entry are written and the caller has both; the entry is not in the queue. */
  "after-answer-before-queue",
  /** The queue has the entry. */
  "after-queue",
  /** Reply and entry are written without a caller; the conversation is not announced to the queue. */
  "after-settle",
  /** The conversation is announced. */
  "after-notify",
  /** Postgres has committed the batch; the consumer has no response. */
  "after-batch",
  /** The consumer has the response; the object is not confirmed. */
  "before-confirm",
] as const;
export type Point = (typeof POINTS)[number];

/** Decides what happens at a point; `subject` is the conversation's address where the point knows it. */
export type Action = (subject: string) => Verdict | Promise<Verdict>;

export type Control = {
  url: string;
  /** A turn has reached a point: decides what happens. */
  reach(point: Point, subject: string): Promise<Verdict>;
  /** Applies an action to the next turn at this point. Resolves when it has happened. */
  next(point: Point, action: Action): Promise<void>;
  /** Applies an action to every turn at this point until the returned function is called. */
  always(point: Point, action: Action): () => void;
  /** Addresses of all conversations seen. */
  addresses: Set<string>;
  /** How often each point was reached. */
  reached: Map<Point, number>;
  close(): Promise<void>;
};

const GO: Verdict = { act: "go" };

/** Serves the chaos worker (worker.ts), which asks at every point of every turn what shall happen. */
export async function startControl(): Promise<Control> {
  const once = new Map<Point, Action[]>();
  const standing = new Map<Point, Action>();
  /** Conversations between admission and notification of a turn: other notifications are no point of a turn. */
  const inTurn = new Set<string>();
  const notified = new Set<string>();
  const addresses = new Set<string>();
  const reached = new Map<Point, number>();

  const isOfTurn = (point: Point, subject: string): boolean => {
    if (point === "after-admit") inTurn.add(subject);
    if (point === "after-settle" && inTurn.delete(subject)) notified.add(subject);
    if (point === "after-settle") return notified.has(subject);
    return point !== "after-notify" || notified.delete(subject);
  };

  const reach = async (point: Point, subject: string): Promise<Verdict> => {
    reached.set(point, (reached.get(point) ?? 0) + 1);
    const action = isOfTurn(point, subject) ? once.get(point)?.shift() : undefined;
    return (action ?? standing.get(point))?.(subject) ?? GO;
  };

  const server = createServer(async (request, response) => {
    const point = request.url?.slice(1) as Point;
    // The worker was killed while it asked, so no turn is at this point.
    const subject = await text(request).catch(() => null);
    if (subject === null) return;
    if (point !== "before-confirm" && subject !== "" && !subject.includes("-")) addresses.add(subject);
    const verdict = await reach(point, subject);
    response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(verdict));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;

  return {
    url: `http://127.0.0.1:${port}`,
    reach,
    next: (point, action) => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const planned = once.get(point) ?? [];
      once.set(point, planned);
      planned.push(async (subject) => {
        try {
          const verdict = await action(subject);
          resolve();
          return verdict;
        } catch (error) {
          reject(error);
          return GO;
        }
      });
      return promise;
    },
    always: (point, action) => {
      standing.set(point, action);
      return () => standing.delete(point);
    },
    addresses,
    reached,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
