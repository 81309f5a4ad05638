import { defineConfig } from "vitest/config";

const workerd = ["test/durable-objects/**/*.test.ts"];
const e2e = ["test/e2e/**/*.test.ts"];

export default defineConfig({
  test: {
    projects: [
      { test: { name: "node", include: ["test/**/*.test.ts"], exclude: [...workerd, ...e2e] } },
      {
        test: {
          name: "e2e",
          include: e2e,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // Each file is a whole service of several processes: two at once, and not beside the others.
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
