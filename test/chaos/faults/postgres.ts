import { setTimeout } from "node:timers/promises";
import pg from "pg";
import type { World } from "../world.ts";
import { FELT_WITHIN_MS } from "./fault.ts";
import type { Fault } from "./fault.ts";

/** How many conversations are held up: those that spoke last, and will speak next. */
const HELD = 20;
/** Somebody who has not come to wait for us by then waits for somebody else: we let go and try again. */
const BLOCKED_WITHIN_MS = 3_000;

/** Two sessions of our own on the Postgres behind the service: one that is in the way, one that looks. */
type Sabotage = { hand: pg.Client; eye: pg.Client };

async function connect(world: World): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: world.database.server ?? "" });
  // A connection of ours may be ended as well; what it was for is tried again.
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

/**
 * A fault that Postgres itself has: `attempt` brings it about or fails to, again and again until the service was told its
 * SQLSTATE, by Postgres and not by us.
 */
const real = (name: string, sqlState: string, attempt: (world: World, sabotage: Sabotage) => Promise<void>): Fault => ({
  kind: "database",
  name: `Postgres: ${name} (${sqlState})`,
  run: async ({ world }, ms) => {
    const felt = () => world.refusals.get(sqlState) ?? 0;
    const before = felt();
    const startedAt = Date.now();
    const hand = await connect(world);
    const eye = await connect(world);
    const elapsed = () => Date.now() - startedAt;
    while ((felt() === before || elapsed() < ms) && elapsed() < FELT_WITHIN_MS) await attempt(world, { hand, eye });
    await Promise.all([hand.end(), eye.end()]);
    return felt() - before;
  },
});

/** The conversations that spoke last, in the order in which the ledger locks them. */
async function lively({ eye }: Sabotage): Promise<string[]> {
  const { rows } = await eye.query<{ id: string }>(
    `select id from (select id from sessions order by updated_at desc limit ${HELD}) s order by id`,
  );
  return rows.map(({ id }) => id);
}

const LOCK = "select id from sessions where id = any($1) order by id for update";

/** Who waits for what `hand` holds; null when nobody has come to. */
async function blockedBy({ hand, eye }: Sabotage): Promise<number | null> {
  const deadline = Date.now() + BLOCKED_WITHIN_MS;
  while (Date.now() < deadline) {
    const { rows } = await eye.query<{ pid: number }>(
      "select pid from pg_stat_activity where $1::int = any(pg_blocking_pids(pid)) and datname = current_database()",
      [Reflect.get(hand, "processID")],
    );
    if (rows[0]) return rows[0].pid;
    await setTimeout(10);
  }
  return null;
}

/** We hold what the ledger wants next, and then want what it has. It looks for the knot first, so the knot is cut in it. */
const deadlock = real("deadlock", "40P01", async (_world, sabotage) => {
  const { hand } = sabotage;
  const ids = await lively(sabotage);
  const middle = Math.floor(ids.length / 2);
  await hand.query("begin");
  await hand.query("set local deadlock_timeout = '60s'");
  await hand.query("set local lock_timeout = '4s'");
  await hand.query(LOCK, [ids.slice(middle)]);
  if ((await blockedBy(sabotage)) !== null) await hand.query(LOCK, [ids.slice(0, middle)]).catch(isRefusal);
  await hand.query("rollback");
});

/** What the ledger's transaction has seen is changed before it is its turn: what repeatable read refuses. */
const serialisation = real("serialisation failure", "40001", async (_world, sabotage) => {
  const { hand, eye } = sabotage;
  const { rows } = await eye.query<{ name: string }>("select quote_ident(current_database()) as name");
  const isolation = (to: string) =>
    eye.query(`alter database ${rows[0]?.name} set default_transaction_isolation = ${to}`);
  await isolation("'repeatable read'");
  // Connections know what they were told when they began.
  await endOthers(sabotage);
  await hand.query("begin");
  await hand.query("update sessions set updated_at = updated_at where id = any($1)", [await lively(sabotage)]);
  await blockedBy(sabotage);
  await hand.query("commit");
  await isolation("default");
  await endOthers(sabotage);
});

/** The ledger's backend is ended in the middle of its transaction. */
const terminated = real("backend terminated", "57P01", async (_world, sabotage) => {
  const { hand, eye } = sabotage;
  await hand.query("begin");
  await hand.query(LOCK, [await lively(sabotage)]);
  const pid = await blockedBy(sabotage);
  if (pid !== null) await eye.query("select pg_terminate_backend($1)", [pid]);
  await hand.query("rollback");
});

/** Every connection there is is ours. */
const exhausted = real("too many connections", "53300", async (world, sabotage) => {
  const taken: pg.Client[] = [];
  const take = async (): Promise<boolean> => {
    try {
      taken.push(await connect(world));
      return true;
    } catch (error) {
      isRefusal(error);
      return false;
    }
  };
  const deadline = Date.now() + BLOCKED_WITHIN_MS;
  const before = world.refusals.get("53300") ?? 0;
  while ((world.refusals.get("53300") ?? 0) === before && Date.now() < deadline) {
    while (await take());
    // The connections that the endpoint keeps are taken as they become free.
    await sabotage.eye.query(END_OTHERS, [[sabotage.hand, sabotage.eye, ...taken].map(pidOf)]);
    await setTimeout(50);
  }
  await Promise.all(taken.map((client) => client.end()));
});

const pidOf = (client: pg.Client): number => Reflect.get(client, "processID") as number;

const END_OTHERS = `
  select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and backend_type = 'client backend' and not pid = any($1::int[])`;

const endOthers = ({ hand, eye }: Sabotage) => eye.query(END_OTHERS, [[hand, eye].map(pidOf)]);

/** What Postgres refuses us is what we are here for; anything else is a fault of ours. */
function isRefusal(error: unknown): void {
  if (!(error instanceof pg.DatabaseError)) throw error;
}

export const postgresFaults: readonly Fault[] = [deadlock, serialisation, terminated, exhausted];
