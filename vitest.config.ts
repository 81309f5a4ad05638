import { join } from "node:path";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";
import { orchestratorBinding } from "./test/support/orchestrator-binding.ts";

const workerd = ["test/durable-objects/*.test.ts"];
const e2e = ["test/e2e/**/*.test.ts"];
/** Files that replace a module or the driver's settings: they can't share modules with others. */
const isolated = ["test/channels/channel.test.ts", "test/scripts/neon-proxy/server.test.ts"];
/** As many as there are processors: nothing else happens meanwhile. */
const maxWorkers = "100%";
/** The platform's classes outside the runtime. */
const platform = { "cloudflare:workers": join(import.meta.dirname, "test/support/cloudflare-workers.ts") };

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "node",
          include: ["test/**/*.test.ts"],
          exclude: [...workerd, ...e2e, ...isolated],
          globalSetup: ["test/support/database-image.ts"],
          alias: platform,
          // Modules hold no state, so the files of a worker share them instead of loading each again.
          isolate: false,
          maxWorkers,
          // Far above any test's duration, so that a busy machine causes no failure.
          testTimeout: 30_000,
          hookTimeout: 60_000,
          expect: { poll: { timeout: 20_000 } },
        },
      },
      {
        test: {
          name: "node-isolated",
          include: isolated,
          maxWorkers,
          globalSetup: ["test/support/database-image.ts"],
          alias: platform,
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        plugins: [
          cloudflareTest({
            wrangler: { configPath: "./wrangler.toml" },
            remoteBindings: false,
            miniflare: {
              bindings: {
                ENVIRONMENT: "development",
                DATABASE_URL: "postgresql://test:test@localhost/test",
                // A closed port: these tests need no Postgres.
                NEON_ENDPOINT: "http://127.0.0.1:9/sql",
                LOG_LEVEL: "error",
              },
              // The queue delivers nothing during a test: the tests are the consumer.
              queueConsumers: { ledger: { maxBatchSize: 100, maxBatchTimeout: 60 } },
              serviceBindings: { ORCHESTRATOR: orchestratorBinding },
            },
          }),
        ],
        test: { name: "workerd", include: workerd, maxWorkers, testTimeout: 30_000 },
      },
      {
        test: {
          name: "e2e",
          include: e2e,
          alias: platform,
          globalSetup: ["test/support/database-image.ts", "test/support/worker-bundle.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Each file runs a service of several processes, which mostly wait: three at once, after the other projects.
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
