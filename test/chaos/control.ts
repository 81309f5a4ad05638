import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import type { Verdict } from "./worker.ts";

/** The named points of a turn, in its order. */
export const POINTS = [
  /** The message is admitted, and the request to the orchestrator has not left. */
  "after-admit",
  /** The orchestrator has the request, and has said nothing. */
  "during-orchestrator",
  /** The answer and the entry are written, and the queue is not rung. */
  "after-settle",
  /** The queue is rung. */
  "after-ring",
  /** Postgres has committed the batch, and the consumer doesn't know. */
  "after-batch",
  /** The consumer knows, and the object has not been told. */
  "before-confirm",
] as const;
export type Point = (typeof POINTS)[number];

/** What shall happen at a point; `subject` is the conversation's address where the point knows it. */
export type Action = (subject: string) => Verdict | Promise<Verdict>;

export type Control = {
  url: string;
  /** Somebody is at a point: what shall happen. */
  reach(point: Point, subject: string): Promise<Verdict>;
  /** What happens to the next one who is there. Resolves when it has happened. */
  next(point: Point, action: Action): Promise<void>;
  /** What happens to everybody who is there, until the function it gives is called. */
  always(point: Point, action: Action): () => void;
  /** The conversations that have been heard of. */
  addresses: Set<string>;
  /** How often anybody was at a point. */
  reached: Map<Point, number>;
  close(): Promise<void>;
};

const GO: Verdict = { act: "go" };

/** The other end of the chaos shell (worker.ts): it asks here at every point of every turn what shall happen. */
export async function startControl(): Promise<Control> {
  const once = new Map<Point, Action[]>();
  const standing = new Map<Point, Action>();
  /** Conversations between the admission and the ring of a turn: other things ring too, and are no point of a turn. */
  const inTurn = new Set<string>();
  const rung = new Set<string>();
  const addresses = new Set<string>();
  const reached = new Map<Point, number>();

  const isOfTurn = (point: Point, subject: string): boolean => {
    if (point === "after-admit") inTurn.add(subject);
    if (point === "after-settle" && inTurn.delete(subject)) rung.add(subject);
    if (point === "after-settle") return rung.has(subject);
    return point !== "after-ring" || rung.delete(subject);
  };

  const reach = async (point: Point, subject: string): Promise<Verdict> => {
    reached.set(point, (reached.get(point) ?? 0) + 1);
    const action = isOfTurn(point, subject) ? once.get(point)?.shift() : undefined;
    return (action ?? standing.get(point))?.(subject) ?? GO;
  };

  const server = createServer(async (request, response) => {
    const point = request.url?.slice(1) as Point;
    // Whoever was killed in the middle of the question is at no point any more.
    const subject = await text(request).catch(() => null);
    if (subject === null) return;
    if (point !== "before-confirm" && !subject.includes("-")) addresses.add(subject);
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
