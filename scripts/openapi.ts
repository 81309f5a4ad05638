/**
 * Lints the OpenAPI document with Redocly's recommended rules; warnings fail too. With a path as argument the document is
 * written there and kept: `node scripts/openapi.ts openapi.json`.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApp } from "../src/app.ts";
import { documentOf } from "../src/http/document.ts";

const ROOT = join(import.meta.dirname, "..");
const REDOCLY = join(ROOT, "node_modules/@redocly/cli/bin/cli.js");
/** The linter must not call its maker. */
const OFFLINE = { REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" };

const folder = await mkdtemp(join(tmpdir(), "parley-openapi-"));
try {
  const file = process.argv[2] ?? join(folder, "openapi.json");
  await writeFile(file, JSON.stringify(documentOf(createApp()), null, 2));
  const config = join(ROOT, "redocly.yaml");
  const { status } = spawnSync(process.execPath, [REDOCLY, "lint", "--config", config, file], {
    stdio: "inherit",
    env: { ...process.env, ...OFFLINE },
  });
  process.exitCode = status ?? 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}
