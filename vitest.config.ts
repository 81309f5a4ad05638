import { defineConfig } from "vitest/config";

const workerd = ["test/durable-objects/**/*.test.ts"];
const e2e = ["test/e2e/**/*.test.ts"];

export default defineConfig({
  test: {
    projects: [{ test: { name: "node", include: ["test/**/*.test.ts"], exclude: [...workerd, ...e2e] } }],
  },
});
