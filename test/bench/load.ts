import { Agent, request } from "node:http";

/** The result of one request. */
export type Sample = { status: number; ms: number; body: string; retryAfter?: string | undefined };
/** A request for `node:http`. */
export type Call = { method?: string; url: string; headers?: Record<string, string>; body?: string };

const agent = new Agent({ keepAlive: true, maxSockets: 2_000, scheduling: "lifo" });

/** Sends one request over a keep-alive connection. Rejects without a response. */
export function send({ method = "POST", url, headers = {}, body = "" }: Call): Promise<Sample> {
  const { promise, resolve, reject } = Promise.withResolvers<Sample>();
  const start = performance.now();
  const options = { method, agent, headers: { "Content-Type": "application/json", ...headers } };
  const outgoing = request(url, options, (response) => {
    let text = "";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => (text += chunk));
    response.on("end", () =>
      resolve({
        status: response.statusCode ?? 0,
        ms: performance.now() - start,
        body: text,
        retryAfter: response.headers["retry-after"],
      }),
    );
    response.on("error", reject);
  });
  outgoing.on("error", reject);
  outgoing.end(body);
  return promise;
}

/** Closed load: each caller sends its next request after its response, for a time or until `most` are sent. */
export async function closedLoop(
  next: () => Call,
  { callers, ms, most = Number.POSITIVE_INFINITY }: { callers: number; ms: number; most?: number },
) {
  const samples: Sample[] = [];
  const start = performance.now();
  let sent = 0;
  const caller = async () => {
    while (performance.now() - start < ms && sent < most) {
      sent += 1;
      samples.push(await send(next()));
    }
  };
  await Promise.all(Array.from({ length: callers }, caller));
  return { samples, perSecond: samples.length / ((performance.now() - start) / 1000) };
}

/** Open load: a constant rate, whatever the response times. A lost response has status 0. */
export async function openLoop(
  next: () => Call,
  {
    perSecond,
    seconds,
    onAnswer = () => undefined,
  }: { perSecond: number; seconds: number; onAnswer?: (sample: Sample) => void },
) {
  const pending: Promise<Sample>[] = [];
  const start = performance.now();
  for (let sent = 0; sent < perSecond * seconds; sent += 1) {
    const early = start + (sent * 1000) / perSecond - performance.now();
    if (early > 0) await new Promise((resolve) => setTimeout(resolve, early));
    const answered = send(next()).catch((error: Error) => ({ status: 0, ms: Number.NaN, body: error.message }));
    pending.push(answered.then((sample) => (onAnswer(sample), sample)));
  }
  return Promise.all(pending);
}

/** The percentile of the values by nearest rank. */
export const percentile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.max(0, Math.ceil(values.length * share) - 1)] ?? Number.NaN;

export const median = (values: readonly number[]): number => percentile(values, 0.5);
