import { spawnSync } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, dirname, join, sep } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..");

/** Who may not look where: what lies above, beside, or belongs to one layer alone. */
const VIOLATIONS: Record<string, string[]> = {
  "src/domain": [
    "../db/x.ts",
    "../rpc/x.ts",
    "../services/x.ts",
    "../flows/x.ts",
    "../config.ts",
    "../deps.ts",
    "hono",
    "jose",
  ],
  "src/rpc": ["../db/x.ts", "../services/x.ts", "../isolate/x.ts", "../clients/x.ts", "../deps.ts", "hono", "jose"],
  "src/isolate": ["../services/x.ts", "../flows/x.ts", "../http/x.ts", "../deps.ts", "../compose.ts", "hono"],
  "src/db": [
    "../rpc/x.ts",
    "../isolate/x.ts",
    "../services/x.ts",
    "../clients/x.ts",
    "../flows/x.ts",
    "../routes/x.ts",
    "../deps.ts",
    "hono",
  ],
  "src/channels": ["../clients/x.ts", "../db/x.ts", "../services/x.ts", "../flows/x.ts", "../deps.ts"],
  "src/clients": ["../db/x.ts", "../services/x.ts", "../flows/x.ts", "../http/x.ts", "../deps.ts"],
  "src/telemetry": ["../db/x.ts", "../services/x.ts", "../http/x.ts", "../deps.ts"],
  "src/services": ["../compose.ts", "../flows/x.ts", "../routes/x.ts", "../http/x.ts", "../queues/x.ts", "hono"],
  "src/flows": ["../compose.ts", "../routes/x.ts", "../http/x.ts", "../queues/x.ts", "../app.ts", "hono"],
  "src/routes": ["../db/x.ts", "../queues/x.ts", "../../durable-objects/conversation.ts"],
  "src/http": ["../routes/x.ts", "../flows/x.ts", "../queues/x.ts"],
  "src/queues": ["../db/x.ts", "../routes/x.ts", "../http/x.ts", "hono"],
  "durable-objects": [
    "../src/flows/x.ts",
    "../src/services/x.ts",
    "../src/db/x.ts",
    "../src/routes/x.ts",
    "../src/http/x.ts",
    "../src/queues/x.ts",
    "hono",
  ],
};
/** The folders besides the one to which each of these belongs. */
const ALIEN: Record<string, (folder: string) => boolean> = {
  "drizzle-orm": (folder) => folder !== "src/db",
  "drizzle-orm/neon-http": (folder) => folder !== "src/db",
  "@neondatabase/serverless": (folder) => folder !== "src/db",
  "cloudflare:workers": (folder) => folder !== "durable-objects",
};
const FOLDERS = Object.keys(VIOLATIONS);
const PLANTED = FOLDERS.flatMap((folder) => [
  ...(VIOLATIONS[folder] ?? []).map((specifier) => ({ folder, specifier })),
  ...Object.keys(ALIEN)
    .filter((specifier) => ALIEN[specifier]?.(folder))
    .map((specifier) => ({ folder, specifier })),
]);

/** Every violation in a file of its own, in a folder beside the project: nobody who works in it trips over them. */
let planted: string;
let found: { code: string; message: string; filename: string }[];
let exitCode: number | null;
const fileOf = (violation: (typeof PLANTED)[number]) =>
  join(violation.folder, `planted-${PLANTED.indexOf(violation)}.ts`);

beforeAll(async () => {
  planted = await mkdtemp(join(tmpdir(), "parley-architecture-"));
  for (const name of ["oxlint.config.ts", "tsconfig.json", "env.d.ts"]) await cp(join(ROOT, name), join(planted, name));
  await symlink(join(ROOT, "node_modules"), join(planted, "node_modules"), "junction");
  const plant = async (file: string, text: string) => {
    await mkdir(join(planted, dirname(file)), { recursive: true });
    await writeFile(join(planted, file), text);
  };
  for (const violation of PLANTED) {
    await plant(fileOf(violation), `import { x } from "${violation.specifier}";\nexport const y = x;\n`);
  }
  await plant("src/domain/allowed.ts", 'import { z } from "zod";\nexport const Name = z.string();\n');
  await plant("src/flows/allowed.ts", 'import { Name } from "../domain/allowed.ts";\nexport const name = Name;\n');
  await plant("src/services/one.ts", 'import { two } from "./two.ts";\nexport const one = () => two;\n');
  await plant("src/services/two.ts", 'import { one } from "./one.ts";\nexport const two = () => one;\n');
  await plant(
    "src/services/type-one.ts",
    'import type { Two } from "./type-two.ts";\nexport type One = { two: Two };\n',
  );
  await plant(
    "src/services/type-two.ts",
    'import type { One } from "./type-one.ts";\nexport type Two = { one: One | null };\n',
  );

  const lines = (count: number) => Array.from({ length: count }, (_, n) => `export const n${n} = ${n};\n`).join("");
  await plant("src/domain/long.ts", lines(201));
  await plant("src/domain/full.ts", `// A comment does not count.\n\n${lines(200)}`);

  const oxlint = join(ROOT, "node_modules/oxlint/bin/oxlint");
  const result = spawnSync(process.execPath, [oxlint, "--format", "json", "src", "durable-objects"], {
    cwd: planted,
    encoding: "utf8",
  });
  exitCode = result.status;
  found = JSON.parse(result.stdout).diagnostics;
}, 60_000);
afterAll(() => rm(planted, { recursive: true, force: true }));

describe("imports point down, and a machine says so", () => {
  it.each(PLANTED)("the import check refuses $specifier in $folder", (violation) => {
    const file = fileOf(violation).replaceAll(sep, "/");
    const complaints = found.filter(({ filename }) => filename.replaceAll("\\", "/") === file);
    expect(complaints).toContainEqual(
      expect.objectContaining({
        code: "eslint(no-restricted-imports)",
        message: expect.stringContaining(`'${violation.specifier}'`),
      }),
    );
  });

  it("the import check accepts an import of a lower layer", () => {
    expect(found.filter(({ filename }) => basename(filename) === "allowed.ts")).toEqual([]);
  });

  it("the import check refuses a cycle, also one of types alone", () => {
    const cycles = found.filter(({ code }) => code === "import(no-cycle)").map(({ filename }) => basename(filename));
    expect(cycles).toEqual(expect.arrayContaining(["one.ts", "two.ts", "type-one.ts", "type-two.ts"]));
  });

  it("the line check refuses a file of more than 200 lines without comments and blank ones", () => {
    const long = found.filter(({ code }) => code === "eslint(max-lines)").map(({ filename }) => basename(filename));
    expect(long).toEqual(["long.ts"]);
  });

  it("every exception to the line limit states its reason", async () => {
    const config = await readFile(join(ROOT, "oxlint.config.ts"), "utf8");
    const overrides = [...config.matchAll(/(\/\/ [^\n]*\n\s*)?files: \[[^\]]*\],\s*rules: \{ "eslint\/max-lines"/g)];
    expect(overrides.filter(([, reason]) => !reason?.startsWith("// Reason: "))).toEqual([]);
  });

  it("npm run check fails when an import points up", async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
    expect(scripts.check.split(" && ")).toContain("oxlint");
    expect(exitCode).not.toBe(0);
  });
});

describe("every file has a home", () => {
  const filesOf = async (folder: string) =>
    (await readdir(join(ROOT, folder), { recursive: true }))
      .filter((file) => file.endsWith(".ts"))
      .map((file) => `${folder}/${file.replaceAll(sep, "/")}`);

  it("every source file belongs to a layer with watched imports, except the files at its top", async () => {
    const homeless = (await filesOf("src")).filter((file) => !FOLDERS.some((folder) => file.startsWith(`${folder}/`)));
    expect(homeless.toSorted((a, b) => a.localeCompare(b))).toEqual([
      "src/app.ts",
      "src/compose.ts",
      "src/config.ts",
      "src/deps.ts",
      "src/index.ts",
      "src/version.ts",
    ]);
  });

  it("no source file is named utils, helpers, shared, common or index", async () => {
    const files = [...(await filesOf("src")), ...(await filesOf("durable-objects")), ...(await filesOf("scripts"))];
    const drawers = files.filter((file) => /(^|\/)(utils?|helpers?|shared|common|misc|lib|index)(\.ts$|\/)/.test(file));
    expect(drawers).toEqual(["src/index.ts"]);
  });

  it("every folder with an import rule exists", async () => {
    for (const folder of FOLDERS) expect(await filesOf(folder)).not.toEqual([]);
  });
});
