import { defineConfig } from "oxfmt";

export default defineConfig({
  printWidth: 120,
  ignorePatterns: ["drizzle/**", "env.d.ts", "dist/**", "package-lock.json", "**/*.md"],
});
