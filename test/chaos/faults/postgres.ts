import { setTimeout } from "node:timers/promises";
import pg from "pg";
import type { World } from "../world.ts";
import { FELT_WITHIN_MS } from "./fault.ts";
import type { Fault } from "./fault.ts";

/** Conversations that are blocked: the most recent ones, which will be written next. */
const BLOCKED_CONVERSATIONS = 20;
/** A backend that is not blocked by then waits for another lock: release and try again. */
const BLOCKED_WITHIN_MS = 3_000;

/** Two connections to the service's Postgres: one holds locks, one observes. */
type Connections = { blocker: pg.Client; observer: pg.Client };

async function connect(world: World): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: world.database.server ?? "" });
  // This connection may be terminated too; its attempt is repeated.
  client.on("error", () => undefined);
  await client.connect();
  return client;
}

/**
 * A fault of Postgres itself: `attempt` is repeated until Postgres has returned the SQLSTATE to the
 * service.
 */
const real = (
  name: string,
  sqlState: string,
  attempt: (world: World, connections: Connections) => Promise<void>,
): Fault => ({
  kind: "database",
  name: `Postgres: ${name} (${sqlState})`,
  run: async ({ world }, ms) => {
    const felt = () => world.refusals.get(sqlState) ?? 0;
    const before = felt();
    const startedAt = Date.now();
    const blocker = await connect(world);
    const observer = await connect(world);
    const elapsed = () => Date.now() - startedAt;
    while ((felt() === before || elapsed() < ms) && elapsed() < FELT_WITHIN_MS)
      await attempt(world, { blocker, observer });
    await Promise.all([blocker.end(), observer.end()]);
    return felt() - before;
  },
});

/** The most recent conversations, in the ledger's locking order. */
async function mostRecent({ observer }: Connections): Promise<string[]> {
  const { rows } = await observer.query<{ id: string }>(
    `select id from (select id from sessions order by updated_at desc limit ${BLOCKED_CONVERSATIONS}) s order by id`,
  );
  return rows.map(({ id }) => id);
}

const LOCK = "select id from sessions where id = any($1) order by id for update";

/** The backend that waits for a lock of `blocker`; null without one in time. */
async function blockedBy({ blocker, observer }: Connections): Promise<number | null> {
  const deadline = Date.now() + BLOCKED_WITHIN_MS;
  while (Date.now() < deadline) {
    const { rows } = await observer.query<{ pid: number }>(
      "select pid from pg_stat_activity where $1::int = any(pg_blocking_pids(pid)) and datname = current_database()",
      [Reflect.get(blocker, "processID")],
    );
    if (rows[0]) return rows[0].pid;
    await setTimeout(10);
  }
  return null;
}

/** Locks the rows that the ledger needs next, then requests those it holds. Its deadlock check runs first, so it is refused. */
const deadlock = real("deadlock", "40P01", async (_world, connections) => {
  const { blocker } = connections;
  const ids = await mostRecent(connections);
  const middle = Math.floor(ids.length / 2);
  await blocker.query("begin");
  await blocker.query("set local deadlock_timeout = '60s'");
  await blocker.query("set local lock_timeout = '4s'");
  await blocker.query(LOCK, [ids.slice(middle)]);
  if ((await blockedBy(connections)) !== null) await blocker.query(LOCK, [ids.slice(0, middle)]).catch(isRefusal);
  await blocker.query("rollback");
});

/** Changes rows that the ledger's transaction has read, which repeatable read refuses. */
const serialisation = real("serialisation failure", "40001", async (_world, connections) => {
  const { blocker, observer } = connections;
  const { rows } = await observer.query<{ name: string }>("select quote_ident(current_database()) as name");
  const isolation = (to: string) =>
    observer.query(`alter database ${rows[0]?.name} set default_transaction_isolation = ${to}`);
  await isolation("'repeatable read'");
  // The setting applies to new connections only.
  await endOthers(connections);
  await blocker.query("begin");
  await blocker.query("update sessions set updated_at = updated_at where id = any($1)", [
    await mostRecent(connections),
  ]);
  await blockedBy(connections);
  await blocker.query("commit");
  await isolation("default");
  await endOthers(connections);
});

/** Terminates the ledger's backend during its transaction. */
const terminated = real("backend terminated", "57P01", async (_world, connections) => {
  const { blocker, observer } = connections;
  await blocker.query("begin");
  await blocker.query(LOCK, [await mostRecent(connections)]);
  const pid = await blockedBy(connections);
  if (pid !== null) await observer.query("select pg_terminate_backend($1)", [pid]);
  await blocker.query("rollback");
});

/** Takes every connection of the server. */
const exhausted = real("too many connections", "53300", async (world, connections) => {
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
    // Ends the endpoint's connections, so that they can be taken.
    await connections.observer.query(END_OTHERS, [[connections.blocker, connections.observer, ...taken].map(pidOf)]);
    await setTimeout(50);
  }
  await Promise.all(taken.map((client) => client.end()));
});

const pidOf = (client: pg.Client): number => Reflect.get(client, "processID") as number;

const END_OTHERS = `
  select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and backend_type = 'client backend' and not pid = any($1::int[])`;

const endOthers = ({ blocker, observer }: Connections) => observer.query(END_OTHERS, [[blocker, observer].map(pidOf)]);

/** Errors of Postgres are expected; any other error is a bug of this fault. */
function isRefusal(error: unknown): void {
  if (!(error instanceof pg.DatabaseError)) throw error;
}

export const postgresFaults: readonly Fault[] = [deadlock, serialisation, terminated, exhausted];
