import type { KnipConfig } from "knip";

const config: KnipConfig = {
  entry: ["scripts/*.ts", "scripts/dev/guard.ts", "test/**/*.test.ts"],
  project: ["src/**/*.ts", "durable-objects/**/*.ts", "scripts/**/*.ts", "test/**/*.ts"],
  ignoreExportsUsedInFile: true,
  // The runtime's own modules.
  ignoreDependencies: ["cloudflare"],
};

export default config;
