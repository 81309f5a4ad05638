import type { Fault as ProxyFault } from "../../support/database-proxy.ts";
import { standing } from "./fault.ts";
import type { Fault } from "./fault.ts";

const proxied = (name: string, fault: ProxyFault): Fault =>
  standing("database", name, ({ world: { proxy } }) => {
    const before = proxy.felt(fault);
    proxy.always(fault);
    return { felt: () => proxy.felt(fault) - before, stop: () => proxy.back() };
  });

/** The port is closed, so only the service's log shows that the fault was noticed. */
const unavailable = standing("database", "database unavailable", async ({ world }) => {
  const failures = () => world.output().split('"ledger_write_failed"').length - 1;
  const before = failures();
  await world.proxy.leave();
  return { felt: () => failures() - before, stop: () => world.proxy.back() };
});

/** Deadlock, serialisation failure, backend terminated, too many connections, returned by the proxy. */
const SQLSTATES = ["40P01", "40001", "57P01", "53300"];

export const databaseFaults: readonly Fault[] = [
  unavailable,
  proxied("database slow", "delay"),
  proxied("database silent", "hang"),
  proxied("database closes connections", "drop"),
  proxied("database resets connections", "reset"),
  proxied("database cut after commit", "cut"),
  ...SQLSTATES.map((sqlState) => proxied(`database answers ${sqlState}`, { sqlState })),
];
