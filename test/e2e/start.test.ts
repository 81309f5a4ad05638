import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, it, onTestFinished, vi } from "vitest";
import { freePort, startService } from "../support/service.ts";
import { PATIENCE } from "../support/patience.ts";

it("a faulty configuration stops the start with one clear line per fault", async () => {
  const env = { ORCHESTRATOR_URL: "localhost", LOG_LEVEL: "loud", SESSION_TIMEOUT_MINUTES: "soon" };
  const refused = await startService({ env }).then(
    () => "It started",
    (error: Error) => error.message,
  );
  const faults = refused.split("\n").filter((line) => /^[A-Z_]{4,} /.test(line));
  expect(faults.map((line) => line.split(" ")[0])).toEqual([
    "ORCHESTRATOR_URL",
    "SESSION_TIMEOUT_MINUTES",
    "LOG_LEVEL",
  ]);
  expect(refused).not.toMatch(/\n {4}at /);
});

it("a signal to npm ends every process that npm run dev started", async () => {
  const stateDir = await mkdtemp(join(tmpdir(), "parley-start-"));
  const port = await freePort();
  const env = { ...process.env, PORT: String(port), STATE_DIR: stateDir, ENVIRONMENT: "development" };
  const npm = spawn("npm", ["run", "dev"], {
    cwd: join(import.meta.dirname, "../.."),
    env,
    shell: process.platform === "win32",
  });
  onTestFinished(async () => {
    npm.kill("SIGKILL");
    await rm(stateDir, { recursive: true, force: true, maxRetries: 5 });
  });
  await new Promise<void>((resolve) => {
    createInterface({ input: npm.stdout }).on("line", (line) => void (line.startsWith("ready") && resolve()));
  });
  npm.kill("SIGTERM");
  const isUp = () =>
    fetch(`http://127.0.0.1:${port}/live`).then(
      () => true,
      () => false,
    );
  await vi.waitUntil(async () => !(await isUp()), PATIENCE);
});
