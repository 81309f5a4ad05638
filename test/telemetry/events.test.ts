import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { EVENT } from "../../src/telemetry/events.ts";

const ROOT = join(import.meta.dirname, "../..");
const NAMES = Object.values(EVENT);

let sources: { file: string; text: string }[];

beforeAll(async () => {
  const list = async (folder: string) =>
    (await readdir(join(ROOT, folder), { recursive: true }))
      .filter((file) => file.endsWith(".ts") && !file.endsWith("events.ts"))
      .map((file) => join(ROOT, folder, file));
  const files = [...(await list("src")), ...(await list("durable-objects"))];
  sources = await Promise.all(files.map(async (file) => ({ file, text: await readFile(file, "utf8") })));
});

describe("log events", () => {
  it("every log event is named once, in snake case", () => {
    expect(new Set(NAMES).size).toBe(NAMES.length);
    for (const name of NAMES) expect(name).toMatch(/^[a-z]+(_[a-z]+)*$/);
  });

  it("no call of a logger names its event by a literal", () => {
    const calls = sources.flatMap(({ file, text }) =>
      (text.match(/\blog(?:ger)?(?:\.(?:debug|info|warn|error)|\[[^;]*?\])\(\s*["'`]\w*/g) ?? []).map((call) => ({
        file,
        call,
      })),
    );
    expect(calls).toEqual([]);
  });

  it("every named log event is logged somewhere", () => {
    const unused = Object.keys(EVENT).filter((key) => !sources.some(({ text }) => text.includes(`EVENT.${key}`)));
    expect(unused).toEqual([]);
  });
});
