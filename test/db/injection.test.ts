import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseAst } from "vitest/node";

type Node = { type: string; start: number; end: number } & Record<string, any>;

const ROOT = join(import.meta.dirname, "../..");
const LOOKS_LIKE_SQL =
  /\b(select|insert\s+into|delete\s+from|from|where|values|set|join|order\s+by|limit|returning|in\s*\()(\s|\(|$)/i;

/** Where a text becomes SQL that is more than a constant: `sql.raw` of anything else, and texts put together. */
function joinedSql(code: string): string[] {
  const found: string[] = [];
  const visit = (node: Node, parent: Node | null): void => {
    if (isJoined(node, parent)) found.push(code.slice(node.start, node.end));
    for (const value of Object.values(node)) {
      for (const child of [value].flat()) if (typeof child?.type === "string") visit(child as Node, node);
    }
  };
  visit(parseAst(code, { lang: "ts" }), null);
  return found;
}

function isJoined(node: Node, parent: Node | null): boolean {
  switch (node.type) {
    case "CallExpression":
      return node["callee"].property?.name === "raw" && !node["arguments"].every(isConstant);
    case "TemplateLiteral":
      // With a tag the values are parameters.
      return parent?.type !== "TaggedTemplateExpression" && !isConstant(node) && node["quasis"].some(saysSql);
    case "BinaryExpression":
      return node["operator"] === "+" && [node["left"], node["right"]].some(saysSql) && !isConstant(node);
    default:
      return false;
  }
}

const isConstant = (node: Node): boolean =>
  node.type === "Literal" ||
  (node.type === "TemplateLiteral" && node["expressions"].length === 0) ||
  (node.type === "BinaryExpression" && isConstant(node["left"]) && isConstant(node["right"]));

const saysSql = (node: Node): boolean =>
  LOOKS_LIKE_SQL.test(String(node["value"]?.cooked ?? node["value"] ?? "")) ||
  (node.type === "TemplateLiteral" && node["quasis"].some(saysSql));

const sources = (folder: string) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => ({ name: `${folder}/${name}`, code: readFileSync(join(ROOT, folder, name), "utf8") }));

describe("the code", () => {
  it("never puts a value into SQL: only the lists that become a column's CHECK are written out [G4.1.2]", () => {
    const files = sources("src/db");
    expect(files.length).toBeGreaterThan(15);
    expect(files.flatMap(({ name, code }) => joinedSql(code).map((text) => `${name}: ${text}`))).toEqual([
      "src/db/schema/columns.ts: sql.raw(values.map((value) => `'${value}'`).join(\", \"))",
    ]);
  });

  it.each([
    ["sql.raw of a value", "sql`select ${sql.raw(name)}`"],
    ["sql.raw of a template", "sql.raw(`id = ${id}`)"],
    ["a template without a tag", "db.execute(`select 1 where id = '${id}'`)"],
    ["a text added to a text", "db.execute('select 1 where id = ' + id)"],
    ["a value between two texts", 'db.execute("select 1 where id = \'" + id + "\'")'],
  ])("would be caught at %s", (_, code) => {
    expect(joinedSql(code)).not.toEqual([]);
  });
});
