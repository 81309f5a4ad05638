import { setTimeout } from "node:timers/promises";
import { audit } from "./auditor.ts";
import type { Finding } from "./audit/finding.ts";
import { readRows } from "./evidence.ts";
import { databaseFaults } from "./faults/database.ts";
import type { Fault } from "./faults/fault.ts";
import { graphFaults, orchestratorFaults } from "./faults/neighbours.ts";
import { peopleFaults } from "./faults/people.ts";
import { postgresFaults } from "./faults/postgres.ts";
import { queueFaults, serviceFaults } from "./faults/service.ts";
import { Journal } from "./journal.ts";
import { chatters } from "./people/chatters.ts";
import type { Scene } from "./people/scene.ts";
import { unauthorized } from "./people/unauthorized.ts";
import { broadcaster, pipeline, whatsapp } from "./people/writers.ts";
import { fork, seeded } from "./random.ts";
import type { Random } from "./random.ts";
import { LEASE_MS, startWorld } from "./world.ts";
import type { World } from "./world.ts";

export type ChaosOptions = {
  /** The same seed draws the same faults, clients and messages. */
  seed: number;
  /** Duration of all faults; every fault runs at least once. */
  seconds: number;
  /** Uses the embedded Postgres even when a server is available. */
  embedded?: boolean;
  /** Receives progress messages. */
  say?: (line: string) => void;
};

export type ChaosReport = {
  seed: number;
  seconds: number;
  /** False with the embedded Postgres, which can't have the faults of a server. */
  isRealPostgres: boolean;
  /** How often each fault fired. */
  fired: Map<string, number>;
  journal: Journal;
  findings: Finding[];
  /** Seconds from the last fault until every entry was written. */
  quietAfter: number;
  /** Violated guarantees, and faults that never fired. */
  failures: string[];
};

/** Shorter runs have no time for each fault alone, so faults come in pairs from the start. */
const ALONE_FROM_SECONDS = 120;
/** Duration of one fault. */
const MAX_FAULT_MS = 3_000;
/** Deadline for all writes after the last fault: a broadcast's claim and its timer take a minute. */
const QUIET_WITHIN_MS = 120_000;

/** Runs clients and faults against the service, then audits its answers against Postgres. */
export async function chaos({
  seed,
  seconds,
  embedded = false,
  say = () => undefined,
}: ChaosOptions): Promise<ChaosReport> {
  const random = seeded(seed);
  const journal = new Journal();
  const world = await startWorld(fork(random), { embedded });
  try {
    const faults = [
      ...databaseFaults,
      ...(world.database.isConcurrent ? postgresFaults : []),
      ...orchestratorFaults,
      ...graphFaults,
      ...serviceFaults,
      ...queueFaults,
      ...peopleFaults,
    ];
    const startedAt = Date.now();
    const elapsed = () => (Date.now() - startedAt) / 1000;
    let over = false;
    const scene: Scene = { world, journal, random: fork(random), isOver: () => over, isPoisoned: false };
    const people = [
      ...chatters(scene),
      whatsapp(scene),
      pipeline(scene),
      broadcaster(scene, () => elapsed() < seconds / 3),
      unauthorized(scene),
    ];
    while (journal.turns.filter(({ answers }) => answers.length > 0).length < 10) await setTimeout(20);

    const fired = new Map(faults.map(({ name }) => [name, 0]));
    const play = async (step: readonly Fault[], ms: number) => {
      say(`${elapsed().toFixed(0).padStart(4)} s  ${step.map(({ name }) => name).join(" + ")}`);
      await Promise.all(
        step.map(async (fault) => {
          journal.faults.add(fault.name);
          const times = await fault.run(scene, ms);
          fired.set(fault.name, (fired.get(fault.name) ?? 0) + times);
          journal.faults.delete(fault.name);
        }),
      );
    };
    const draw = fork(random);
    const ms = Math.min(MAX_FAULT_MS, (seconds * 1000) / (faults.length * 3));
    if (seconds >= ALONE_FROM_SECONDS) for (const fault of shuffled(draw, faults)) await play([fault], ms);
    for (let round = 0; round === 0 || elapsed() < seconds; round += 1) {
      for (const pair of inOrder(pairs(draw, faults), round)) {
        await play(pair, ms);
        if (elapsed() > seconds && [...fired.values()].every((times) => times > 0)) break;
      }
    }

    over = true;
    say(`${elapsed().toFixed(0).padStart(4)} s  the faults are over`);
    await Promise.all(people);
    const endedAt = elapsed();
    const { findings, waiting } = await auditWhenQuiet(world, journal);
    const quietAfter = elapsed() - endedAt;
    return {
      seed,
      seconds,
      isRealPostgres: world.database.isConcurrent,
      fired,
      journal,
      findings,
      quietAfter,
      failures: [
        ...(waiting === 0 ? [] : [`${waiting} entries still wait in outboxes`]),
        ...findings.flatMap(({ invariant, violations }) => violations.map((what) => `${invariant} broken: ${what}`)),
        ...findings.flatMap(({ guarantee, checked }) => (checked === 0 ? [`never checked: ${guarantee}`] : [])),
        ...[...fired].flatMap(([name, times]) => (times === 0 ? [`never fired: ${name}`] : [])),
      ],
    };
  } finally {
    await world.close();
  }
}

/**
 * Resolves once nothing is pending and every guarantee holds, twice in a row, since a repeated write may be late; or at
 * the deadline, with the violations found by then.
 */
async function auditWhenQuiet(world: World, journal: Journal): Promise<{ findings: Finding[]; waiting: number }> {
  const deadline = Date.now() + QUIET_WITHIN_MS;
  for (let inARow = 0; ;) {
    const waiting = await world.waiting();
    const { turns, webhookMessages, transcripts, broadcasts, breaches, looks } = journal;
    const rows = await readRows(world);
    const defaults = await world.query("select distinct default_reply from instance_configs");
    const findings = audit({
      ...{ turns, webhookMessages, transcripts, broadcasts, breaches, looks, rows },
      runs: world.orchestrator.runs,
      sends: world.graph.calls,
      interruptions: world.interruptions,
      leaseMs: LEASE_MS,
      defaultReplies: defaults.map(({ default_reply }) => default_reply ?? ""),
    });
    const isQuiet = waiting === 0 && findings.every(({ violations }) => violations.length === 0);
    inARow = isQuiet ? inARow + 1 : 0;
    if (inARow === 2 || Date.now() > deadline) return { findings, waiting };
    await setTimeout(isQuiet ? 2_000 : 500);
  }
}

/** Pairs every fault with one of another kind; those left over run alone. */
function pairs(random: Random, faults: readonly Fault[]): Fault[][] {
  const left = shuffled(random, faults);
  const result: Fault[][] = [];
  for (let first = left.shift(); first !== undefined; first = left.shift()) {
    const index = left.findIndex(({ kind }) => kind !== first?.kind);
    result.push([first, ...(index < 0 ? [] : left.splice(index, 1))]);
  }
  return result;
}

/**
 * Every other round starts with the crashes, since a crash repairs state that was only forgotten and would hide the
 * violation. The other rounds keep the drawn order.
 */
const inOrder = (pairs: readonly Fault[][], round: number): Fault[][] =>
  round % 2 === 1 ? [...pairs] : pairs.toSorted((a, b) => Number(b.some(isOfService)) - Number(a.some(isOfService)));

const isOfService = ({ kind }: Fault): boolean => kind === "service";

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .toSorted((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
