import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const OBJECT = "durable-objects/conversation";

/** `src/{a,b}.ts` stands for two paths. */
function expand(path: string): string[] {
  const [, before = "", list, after = ""] = /^([^{]*)\{([^}]*)\}(.*)$/.exec(path) ?? [];
  return list === undefined ? [path] : list.split(",").map((name) => `${before}${name}${after}`);
}

/** `.../x` is short for the conversation object's folder. */
function resolve(path: string): string {
  if (!path.startsWith(".../")) return path;
  const rest = path.slice(4).replace(/^conversation\//, "");
  return `${OBJECT}/${rest}`;
}

/** Paths in backticks and links, without placeholders. */
function pathsIn(text: string): string[] {
  const quoted = [...text.matchAll(/`([^`\n]+)`|\]\(([^)#:]+)\)/g)].map(([, code, link]) => code ?? link ?? "");
  const paths = quoted.filter((path) => /^(?:src|test|docs|scripts|durable-objects|\.\.\.)\/[^\s<*]*$/.test(path));
  return paths.flatMap(expand).map(resolve);
}

describe("a document of the repository", () => {
  it.each(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"])(
    "%s names only files that exist",
    (name) => {
      const paths = pathsIn(readFileSync(join(ROOT, name), "utf8"));
      expect(paths.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
    },
  );

  it("ARCHITECTURE.md has at most 120 lines", () => {
    const lines = readFileSync(join(ROOT, "ARCHITECTURE.md"), "utf8").trimEnd().split("\n");
    expect(lines.length).toBeLessThanOrEqual(120);
    expect(pathsIn(lines.join("\n")).length).toBeGreaterThan(30);
  });

  it("the README lists every configuration name that the service reads", () => {
    const config = readFileSync(join(ROOT, "src/config.ts"), "utf8");
    const names = [...config.matchAll(/^ {2}([A-Z][A-Z0-9_]+): /gm)].map(([, name]) => name ?? "");
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    expect(names.length).toBeGreaterThan(15);
    expect([...new Set(names)].filter((name) => !readme.includes(`\`${name}\``))).toEqual([]);
  });
});
