import type { KnipConfig } from "knip";

const config: KnipConfig = {
  entry: [
    "scripts/*.ts",
    "scripts/dev/guard.ts",
    "test/**/*.test.ts",
    "test/support/runtime.ts",
    // An alias in vitest.config.ts.
    "test/support/cloudflare-workers.ts",
    "test/bench/{main,floor,database,orchestrator}.ts",
    "test/chaos/worker.ts",
  ],
  project: ["src/**/*.ts", "durable-objects/**/*.ts", "scripts/**/*.ts", "test/**/*.ts"],
  ignoreExportsUsedInFile: true,
  // The runtime's own modules; wrangler's own runtime, since one of ours would be another; and what scripts/openapi.ts spawns.
  ignoreDependencies: ["cloudflare", "miniflare", "@redocly/cli"],
  // Part of Linux, used where available.
  ignoreBinaries: ["taskset"],
};

export default config;
