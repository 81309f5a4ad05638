import { test } from "vitest";
import { startBuiltService } from "./built-service.ts";
import { startDatabaseProxy } from "./database-proxy.ts";
import { startDatabase } from "./database.ts";
import type { TestDatabaseOptions } from "./database.ts";
import { startGateway } from "./gateway.ts";
import type { GatewayOptions } from "./gateway.ts";
import { startGraphApi } from "./graph-api.ts";
import { startOrchestrator } from "./orchestrator.ts";
import { startService } from "./service.ts";

// One of each service a file: a fixture starts when the first test of the file asks for it and ends with the file.
// A file states what differs by extending `env` and the other options, and adds its own fixtures. Each call makes fixtures
// of its own, since the files of a worker share modules.

const file = { scope: "file" } as const;

/** `orchestrator` and `graph`: local servers in place of the orchestrator and of graph.facebook.com. */
export const standInTest = () =>
  test
    .extend("orchestrator", file, async ({}, { onCleanup }) => {
      const orchestrator = await startOrchestrator();
      onCleanup(() => orchestrator.close());
      return orchestrator;
    })
    .extend("graph", file, async ({}, { onCleanup }) => {
      const graph = await startGraphApi();
      onCleanup(() => graph.close());
      return graph;
    });

/** `database`: Postgres with the real migrations and, unless `databaseOptions` says otherwise, the demo's rows. */
export const databaseTest = () =>
  standInTest()
    .extend("databaseOptions", file, (): TestDatabaseOptions => ({ seeded: true }))
    .extend("database", file, async ({ databaseOptions }, { onCleanup }) => {
      const database = await startDatabase(databaseOptions);
      onCleanup(() => database.close());
      return database;
    });

/** `gateway`: the whole service in this process, with `env` over the variables of a development machine. */
export const gatewayTest = () =>
  standInTest()
    .extend("env", file, (): Record<string, string> => ({}))
    .extend("boundOrchestrator", file, (): GatewayOptions["orchestrator"] => undefined)
    .extend("gateway", file, async ({ env, boundOrchestrator }, { onCleanup }) => {
      const gateway = await startGateway({ env, ...(boundOrchestrator && { orchestrator: boundOrchestrator }) });
      onCleanup(() => gateway.close());
      return gateway;
    });

/**
 * `service`: the built Worker in its runtime, with `env` over the variables of a development machine. `proxy` stands
 * between it and `database` in a file whose `env` names it.
 */
export const serviceTest = () =>
  databaseTest()
    .extend("proxy", file, async ({ database }, { onCleanup }) => {
      const proxy = await startDatabaseProxy(database.endpoint);
      onCleanup(() => proxy.close());
      return proxy;
    })
    .extend("env", file, (): Record<string, string> => ({}))
    .extend("service", file, async ({ env, database }, { onCleanup }) => {
      const service = await startBuiltService({ env, database });
      onCleanup(() => service.stop());
      return service;
    });

/** `service`: the whole service as `npm run dev` starts it, with `env` as its environment. */
export const developmentTest = () =>
  standInTest()
    .extend("env", file, (): Record<string, string> => ({}))
    .extend("service", file, async ({ env }, { onCleanup }) => {
      const service = await startService({ env });
      onCleanup(() => service.stop());
      return service;
    });
