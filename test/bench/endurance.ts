import { setTimeout as pause } from "node:timers/promises";
import { closedLoop, openLoop, percentile } from "./load.ts";
import type { Sample } from "./load.ts";
import { floors, message, people } from "./scenarios.ts";
import type { Stage } from "./stage.ts";

type Percentiles = { p50: number; p95: number; p99: number };

export type Sustained = Percentiles & {
  sent: number;
  errors: number;
  /** The bare turn under the same load, measured just before. */
  floor: Percentiles;
  transactionsPerMessage: number;
  /** Time from an answer to its row in Postgres. */
  ledgerLagP95: number;
};

const SPEAKERS = 300;

function percentiles(samples: readonly Sample[]): Percentiles {
  const times = samples.map(({ ms }) => ms);
  return { p50: percentile(times, 0.5), p95: percentile(times, 0.95), p99: percentile(times, 0.99) };
}

/** Applies a constant load, then counts its rows in Postgres. */
export async function sustain(stage: Stage, load: { perSecond: number; seconds: number }): Promise<Sustained> {
  const speaker = people("sustained", SPEAKERS);
  await closedLoop(() => message(stage, speaker()), { callers: 16, ms: 60_000, most: SPEAKERS });
  await written(stage, "m-%");
  const bare = await openLoop(floors(stage).turn, load);

  const before = await stage.requests();
  const answeredAt = new Map<string, number>();
  const lags: number[] = [];
  let sent = 0;
  const watcher = new AbortController();
  const watch = watchLedger(stage, answeredAt, lags, watcher.signal);
  const prefix = `s${Date.now()}`;
  const samples = await openLoop(() => message(stage, speaker(), `${prefix}-${(sent += 1)}`), {
    ...load,
    onAnswer: ({ status, body }) => {
      if (status === 200) answeredAt.set(JSON.parse(body).data.request_id, Date.now());
    },
  });
  await written(stage, `${prefix}-%`, samples.filter(({ status }) => status === 200).length);
  watcher.abort();
  await watch;
  return {
    ...percentiles(samples),
    sent,
    errors: samples.filter(({ status }) => status !== 200).length,
    floor: percentiles(bare),
    transactionsPerMessage: ((await stage.requests()) - before) / sent,
    ledgerLagP95: percentile(lags, 0.95),
  };
}

/** Polls every quarter of a second for answers in Postgres, which is the precision of the lag. */
async function watchLedger(stage: Stage, answeredAt: Map<string, number>, lags: number[], signal: AbortSignal) {
  while (!signal.aborted) {
    await pause(250);
    const rows = await stage.query(
      `select request_id from messages where role = 'assistant' and created_at > now() - interval '20 seconds'`,
    );
    const seenAt = Date.now();
    for (const { request_id } of rows) {
      const at = answeredAt.get(request_id ?? "");
      if (at === undefined) continue;
      lags.push(seenAt - at);
      answeredAt.delete(request_id ?? "");
    }
  }
}

const PATIENCE_MS = 120_000;

/** Waits until Postgres has this many answers with matching request ids, or until the count stops growing. */
async function written(stage: Stage, like: string, expected?: number): Promise<number> {
  const deadline = Date.now() + PATIENCE_MS;
  for (let last = -1; ;) {
    const [row] = await stage.query(
      "select count(*)::int as n from messages where role = 'assistant' and request_id like $1",
      [like],
    );
    const found = Number(row?.["n"]);
    if (expected === undefined ? found === last : found >= expected) return found;
    if (Date.now() > deadline) throw new Error(`Postgres has ${found} of ${expected} answers after ${PATIENCE_MS} ms`);
    last = found;
    await pause(expected === undefined ? 3_000 : 250);
  }
}

export type Burst = { sent: number; answered: number; limited: number; wrong: Sample[]; rows: number };

/** Sends a thousand requests within a second, half of them first contacts, then counts their rows in Postgres. */
export async function burst(stage: Stage, count = 1_000): Promise<Burst> {
  const known = people("known", SPEAKERS);
  await closedLoop(() => message(stage, known()), { callers: 16, ms: 60_000, most: SPEAKERS });
  const stranger = people(`stranger-${Date.now()}`, count);
  const prefix = `b${Date.now()}`;
  let sent = 0;
  const next = () => {
    sent += 1;
    return message(stage, sent % 2 === 0 ? known() : stranger(), `${prefix}-${sent}`);
  };
  const samples = await openLoop(next, { perSecond: count, seconds: 1 });
  const answered = samples.filter(({ status }) => status === 200).length;
  const isHonest = ({ status, body }: Sample) => status === 429 && JSON.parse(body).error.code === "RATE_LIMITED";
  return {
    ...{ sent, answered },
    limited: samples.filter(isHonest).length,
    wrong: samples.filter((sample) => sample.status !== 200 && !isHonest(sample)),
    rows: await written(stage, `${prefix}-%`, answered),
  };
}

/** Bytes of resident memory, and of the JavaScript heap after a garbage collection. */
export type Memory = { messages: number; resident: number; heap: number };
export type Endured = {
  /** The last one after a minute of rest. */
  held: Memory[];
  transactionsPerMessage: number;
};

/** Sends messages at full speed and measures the runtime's memory at each milestone. */
export async function endure(
  stage: Stage,
  heapBytes: () => Promise<number>,
  milestones: readonly number[],
): Promise<Endured> {
  const speaker = people("remembered");
  const before = await stage.requests();
  const held: Memory[] = [];
  let sent = 0;
  const look = async () => {
    const heap = await heapBytes();
    held.push({ messages: sent, resident: stage.runtime.residentBytes(), heap });
  };
  for (const milestone of milestones) {
    while (sent < milestone) {
      const left = milestone - sent;
      const { samples } = await closedLoop(() => message(stage, speaker()), { callers: 16, ms: 10_000, most: left });
      const wrong = samples.find(({ status }) => status !== 200);
      if (wrong) throw new Error(`A message was answered ${wrong.status}: ${wrong.body.slice(0, 300)}`);
      sent += samples.length;
    }
    await look();
  }
  await pause(60_000);
  await look();
  return { held, transactionsPerMessage: ((await stage.requests()) - before) / sent };
}
