import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";

export type WorkerOptions = {
  port: number;
  stateDir: string;
  variables: Record<string, string>;
};

export type RunningWorker = {
  /** Resolves when wrangler has ended for any reason. */
  ended: Promise<void>;
  /** Ends wrangler's whole process group and resolves when it has ended. */
  stop(): Promise<void>;
};

const ROOT = join(import.meta.dirname, "../..");
const STOP_GRACE_MS = 4000;

/** Turns off network access, prompts and telemetry of wrangler. */
const OFFLINE = {
  CI: "1",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_NO_SKILLS_UPDATE_PROMPTS: "true",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  X_LOCAL_EXPLORER: "false",
  X_LOCAL_OBSERVABILITY: "false",
};

/** Starts wrangler in its own process group, which ends with this process even when this one is killed. */
export async function startWorker({ port, stateDir, variables }: WorkerOptions): Promise<RunningWorker> {
  const wrangler = join(dirname(createRequire(import.meta.url).resolve("wrangler/package.json")), "bin/wrangler.js");
  const config = await writeConfig(stateDir, Object.keys(variables));
  const args = [
    join(import.meta.dirname, "guard.ts"),
    process.execPath,
    wrangler,
    "dev",
    ...["--config", config],
    // An empty file, so that no .dev.vars or .env in the folder is read.
    ...["--env-file", writeEmptyFile(join(stateDir, "empty.env"))],
    ...["--ip", "127.0.0.1", "--port", String(port), "--inspector-port", "0"],
    ...["--persist-to", join(stateDir, "objects")],
    ...["--show-interactive-dev-session=false", "--log-level", "log"],
  ];
  const guard = spawn(process.execPath, args, {
    cwd: ROOT,
    // Values are passed in the environment, where `ps` doesn't show them. The registry is private: two servers on one
    // machine would otherwise find each other's Worker and queue by name.
    env: { ...process.env, ...OFFLINE, WRANGLER_REGISTRY_PATH: join(stateDir, "registry"), ...variables },
    stdio: ["pipe", "inherit", "inherit"],
    detached: process.platform !== "win32",
  });
  const ended = new Promise<void>((resolve) => {
    guard.on("error", () => resolve());
    guard.on("exit", () => resolve());
  });
  return { ended, stop: () => stop(guard, ended) };
}

/**
 * Writes wrangler.toml with every variable declared as a secret: once a configuration declares secrets, wrangler passes
 * only declared names from its environment to the Worker.
 */
async function writeConfig(stateDir: string, names: string[]): Promise<string> {
  // Loads in most of a second, so not before signals are handled and the database is up.
  const { experimental_readRawConfig } = await import("wrangler");
  const { rawConfig } = experimental_readRawConfig({ config: join(ROOT, "wrangler.toml") });
  const file = join(stateDir, "wrangler.json");
  const { env: _deployed, ...local } = rawConfig;
  const config = {
    ...local,
    main: resolve(ROOT, rawConfig.main ?? "src/index.ts"),
    secrets: { required: [...names] },
  };
  writeFileSync(file, JSON.stringify(config, null, 2));
  return file;
}

/** The file must exist: Node reads `--env-file` among a script's arguments too and refuses to start without it. */
function writeEmptyFile(file: string): string {
  writeFileSync(file, "");
  return file;
}

async function stop(guard: ChildProcess, ended: Promise<void>): Promise<void> {
  guard.stdin?.end();
  await Promise.race([ended, setTimeout(STOP_GRACE_MS)]);
  if (guard.pid === undefined || process.platform === "win32") return;
  try {
    // Even when the guard has ended: if it was killed, the rest of its group still runs.
    process.kill(-guard.pid, "SIGKILL");
  } catch (error) {
    // ESRCH: the group has ended.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  await ended;
}
