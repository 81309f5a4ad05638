import { defineConfig } from "oxlint";
import type { DummyRuleMap as Rules } from "oxlint";

/**
 * Imports point down: each folder lists the folders and packages it must not import. `test/architecture.test.ts` plants
 * a violation of each and expects an error.
 */
const platform = ["cloudflare:*"];
const web = ["hono", "hono/*", "@hono/*"];
const orm = ["drizzle-orm", "drizzle-orm/*", "@neondatabase/*"];
const files = ["app", "index", "deps", "compose", "config"];
const above = (...names: string[]) => names.map((name) => (files.includes(name) ? `**/${name}.ts` : `**/${name}/**`));
const entries = above("routes", "queues", "http", "durable-objects", "app", "index");

const forbidden: Record<string, string[]> = {
  domain: [
    ...platform,
    ...web,
    ...orm,
    "jose",
    ...entries,
    ...above(
      "flows",
      "services",
      "isolate",
      "clients",
      "channels",
      "db",
      "rpc",
      "telemetry",
      "deps",
      "compose",
      "config",
    ),
  ],
  rpc: [
    ...platform,
    ...web,
    ...orm,
    "jose",
    ...entries,
    ...above("flows", "services", "isolate", "clients", "channels", "db", "telemetry", "deps", "compose", "config"),
  ],
  channels: [
    ...platform,
    ...web,
    ...orm,
    ...entries,
    ...above("flows", "services", "isolate", "clients", "db", "rpc", "deps", "compose"),
  ],
  telemetry: [
    ...platform,
    ...web,
    ...orm,
    ...entries,
    ...above("flows", "services", "isolate", "clients", "db", "rpc", "deps", "compose"),
  ],
  db: [
    ...platform,
    ...web,
    ...entries,
    ...above("flows", "services", "isolate", "clients", "channels", "rpc", "deps", "compose"),
  ],
  clients: [
    ...platform,
    ...web,
    ...orm,
    ...entries,
    ...above("flows", "services", "isolate", "db", "rpc", "deps", "compose"),
  ],
  isolate: [...platform, ...web, ...orm, ...entries, ...above("flows", "services", "deps", "compose")],
  services: [...platform, ...web, ...orm, ...entries, ...above("flows", "compose")],
  flows: [...platform, ...web, ...orm, ...entries, ...above("compose")],
  routes: [...platform, ...orm, ...above("db", "queues", "durable-objects", "compose")],
  http: [...platform, ...orm, ...above("routes", "flows", "queues", "durable-objects", "compose")],
  queues: [...platform, ...web, ...orm, ...above("db", "routes", "http", "durable-objects", "compose")],
};

export default defineConfig({
  plugins: ["typescript", "unicorn", "import", "oxc", "promise", "vitest"],
  categories: { correctness: "error", suspicious: "error", perf: "error" },
  options: { typeAware: true },
  ignorePatterns: ["dist/**", "env.d.ts", "drizzle/**"],
  rules: {
    "import/no-cycle": ["error", { ignoreTypes: false }],
    "import/no-default-export": "error",
    "typescript/no-floating-promises": "error",
    "typescript/no-misused-promises": ["error", { checksVoidReturn: false }],
    "typescript/no-explicit-any": "error",
    "typescript/no-non-null-assertion": "error",
    "eslint/no-empty": ["error", { allowEmptyCatch: false }],
    // A longer file needs an override below, with its reason.
    "eslint/max-lines": ["error", { max: 200, skipBlankLines: true, skipComments: true }],
    // Sequential awaits are intended: most loops here depend on order.
    "eslint/no-await-in-loop": "off",
    // A map of a spread is clearer than a mutation.
    "oxc/no-map-spread": "off",
    // A variable with the name of a column or field holds the same value.
    "eslint/no-shadow": "off",
    // Rules of taste that this code does not follow.
    "unicorn/consistent-function-scoping": "off",
    "unicorn/no-useless-spread": "off",
    "unicorn/prefer-set-has": "off",
    "import/no-named-as-default-member": "off",
    "promise/always-return": "off",
    "eslint/no-underscore-dangle": "off",
    // Rows, queue messages and error codes are typed once, where they enter.
    "typescript/no-unsafe-type-assertion": "off",
  },
  overrides: [
    ...Object.entries(forbidden).map(([folder, group]) => ({
      files: [`src/${folder}/**`],
      rules: {
        "no-restricted-imports": ["error", { patterns: [{ group, message: `src/${folder} must not import this` }] }],
      } satisfies Rules,
    })),
    {
      files: ["durable-objects/**"],
      rules: {
        "no-restricted-imports": [
          "error",
          {
            patterns: [
              {
                group: [...web, ...orm, ...above("db", "flows", "services", "isolate", "routes", "http", "queues")],
                message: "An object imports domain, rpc, channels, clients and its dependencies only",
              },
            ],
          },
        ],
      },
    },
    { files: ["*.config.ts", "src/index.ts", "test/chaos/worker.ts"], rules: { "import/no-default-export": "off" } },
    {
      files: ["test/**"],
      rules: {
        "typescript/no-explicit-any": "off",
        "typescript/no-non-null-assertion": "off",
        "eslint/max-lines": "off",
        // vitest reads the pattern: a fixture that needs no other fixture has an empty one.
        "eslint/no-empty-pattern": ["error", { allowObjectPatternsAsParameters: true }],
        // Models and fixtures may hold a test's expectations.
        "vitest/no-standalone-expect": "off",
        "vitest/expect-expect": "off",
      },
    },
  ],
});
