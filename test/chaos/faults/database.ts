import type { Fault as ProxyFault } from "../../support/database-proxy.ts";
import { standing } from "./fault.ts";
import type { Fault } from "./fault.ts";

const told = (name: string, fault: ProxyFault): Fault =>
  standing("database", name, ({ world: { proxy } }) => {
    const before = proxy.felt(fault);
    proxy.always(fault);
    return { felt: () => proxy.felt(fault) - before, stop: () => proxy.back() };
  });

/** Nobody listens: only the service can tell that it noticed. */
const away = standing("database", "database away", async ({ world }) => {
  const failures = () => world.output().split('"ledger_write_failed"').length - 1;
  const before = failures();
  await world.proxy.leave();
  return { felt: () => failures() - before, stop: () => world.proxy.back() };
});

/** Deadlock, serialisation failure, backend terminated, too many connections: told by the proxy where no real one is had. */
const SQLSTATES = ["40P01", "40001", "57P01", "53300"];

export const databaseFaults: readonly Fault[] = [
  away,
  told("database slow", "delay"),
  told("database silent", "hang"),
  told("database closes connections", "drop"),
  told("database resets connections", "reset"),
  told("database cut after commit", "cut"),
  ...SQLSTATES.map((sqlState) => told(`database answers ${sqlState}`, { sqlState })),
];
