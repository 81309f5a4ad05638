import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";

// The rules of CONTRIBUTING.md for the titles of tests.

const ROOT = join(import.meta.dirname, "..");
const ID = /\[(?:[A-I]\d{0,2}\.\d|5\.1-)[^\]]*\]/;
/** `it("...", ` and the end of a table, `)("...", `. */
const TITLE = /(?:\bit|\))\(\s*(["'`])((?:(?!\1).)+)\1,\s/g;
/** Words that begin the rest of a sentence whose subject stands elsewhere. */
const FRAGMENT =
  /^(?:and|but|or|with|while|that|who|whose|which|of|by|for|to|from|as|because|is|are|was|were|has|have|can|can't|may|does|do|gets|gives|takes|keeps|says|goes|comes|stays|holds|needs|leaves|finds|knows|tells|names|makes|becomes|loses|never)\b/;

const titles = globSync("test/**/*.test.ts", { cwd: ROOT }).flatMap((file) =>
  [...readFileSync(join(ROOT, file), "utf8").matchAll(TITLE)].map(([, , title = ""]) => ({ file, title })),
);

it("the titles of the tests are found", () => {
  expect(titles.length).toBeGreaterThan(800);
});

it("the ids of acceptance cases stand at the end of a title, in one group", () => {
  const misplaced = titles.filter(({ title }) => ID.test(title) && !/^[^[]*\[[^\]]+\]$/.test(title));
  expect(misplaced).toEqual([]);
});

it("no title of a test is a fragment of a sentence", () => {
  expect(titles.filter(({ title }) => FRAGMENT.test(title))).toEqual([]);
});
