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
import { stranger } from "./people/stranger.ts";
import { broadcaster, pipeline, whatsapp } from "./people/writers.ts";
import { fork, seeded } from "./random.ts";
import type { Random } from "./random.ts";
import { LEASE_MS, startWorld } from "./world.ts";
import type { World } from "./world.ts";

export type ChaosOptions = {
  /** The same seed draws the same faults, people and words. */
  seed: number;
  /** How long faults go on; every fault has its turn, however short. */
  seconds: number;
  /** The Postgres in memory, also where a server could be had. */
  embedded?: boolean;
  /** Is told what goes on. */
  say?: (line: string) => void;
};

export type ChaosReport = {
  seed: number;
  seconds: number;
  /** False when the database was one in memory: then there are faults that only a real one can have. */
  isRealPostgres: boolean;
  /** How often each fault fired. */
  fired: Map<string, number>;
  journal: Journal;
  findings: Finding[];
  /** Seconds from the last fault until all was written and nothing waited any more. */
  quietAfter: number;
  /** Broken promises, and faults that never fired. Nothing else counts. */
  failures: string[];
};

/** Below this there is no time for each fault alone: they come in pairs from the start. */
const ALONE_FROM_SECONDS = 120;
/** How long a fault is on. */
const MAX_FAULT_MS = 3_000;
/** After the last fault everything has to be written by then: a broadcast's claim and its timer take a minute. */
const QUIET_WITHIN_MS = 120_000;

/** Lets the service run among people and faults, and holds what it told them against what it wrote. */
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
      stranger(scene),
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
        ...findings.flatMap(({ promise, checked }) => (checked === 0 ? [`never looked at: ${promise}`] : [])),
        ...[...fired].flatMap(([name, times]) => (times === 0 ? [`never fired: ${name}`] : [])),
      ],
    };
  } finally {
    await world.close();
  }
}

/**
 * Once nothing waits and every promise is kept, twice in a row: what comes twice may come late. Or at the deadline, with what
 * waits and is broken by then.
 */
async function auditWhenQuiet(world: World, journal: Journal): Promise<{ findings: Finding[]; waiting: number }> {
  const deadline = Date.now() + QUIET_WITHIN_MS;
  for (let inARow = 0; ;) {
    const waiting = await world.waiting();
    const { turns, letters, transcripts, broadcasts, breaches, looks } = journal;
    const rows = await readRows(world);
    const defaults = await world.query("select distinct default_reply from instance_configs");
    const findings = audit({
      ...{ turns, letters, transcripts, broadcasts, breaches, looks, rows },
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

/** Every fault once, beside one of another kind: whoever is left over at the end goes alone. */
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
 * In every other round what the service loses its memory by comes first, and then what it has to remember: a crash also
 * mends what was only forgotten, and would hide it. In the others as it comes.
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
