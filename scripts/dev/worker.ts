import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { setTimeout } from "node:timers/promises";

export interface WorkerOptions {
  readonly port: number;
  readonly stateDir: string;
  readonly variables: Readonly<Record<string, string>>;
}

export interface RunningWorker {
  /** Resolves when wrangler has ended, by itself or not. */
  readonly ended: Promise<void>;
  /** Takes wrangler's whole process group down and resolves when it is gone. */
  stop(): Promise<void>;
}

const ROOT = join(import.meta.dirname, "../..");
const STOP_GRACE_MS = 4000;

/** No network, no terminal, no questions, no telemetry. */
const OFFLINE = {
  CI: "1",
  WRANGLER_SEND_METRICS: "false",
  WRANGLER_HIDE_BANNER: "true",
  WRANGLER_NO_SKILLS_UPDATE_PROMPTS: "true",
  CLOUDFLARE_CF_FETCH_ENABLED: "false",
  X_LOCAL_EXPLORER: "false",
  X_LOCAL_OBSERVABILITY: "false",
};

/** Starts wrangler's own bin, in a process group of its own that ends with this process, however that ends. */
export async function startWorker({ port, stateDir, variables }: WorkerOptions): Promise<RunningWorker> {
  const wrangler = join(dirname(createRequire(import.meta.url).resolve("wrangler/package.json")), "bin/wrangler.js");
  const config = await writeConfig(stateDir, Object.keys(variables));
  const args = [
    join(import.meta.dirname, "guard.ts"),
    process.execPath,
    wrangler,
    "dev",
    ...["--config", config],
    // Named, so that neither a .dev.vars nor a .env lying about decides anything.
    ...["--env-file", writeEmptyFile(join(stateDir, "empty.env"))],
    ...["--ip", "127.0.0.1", "--port", String(port), "--inspector-port", "0"],
    ...["--persist-to", join(stateDir, "objects")],
    ...["--show-interactive-dev-session=false", "--log-level", "log"],
  ];
  const guard = spawn(process.execPath, args, {
    cwd: ROOT,
    // Values travel in the environment, where `ps` doesn't show them.
    // A registry of its own: two of these on one machine would otherwise find each other's Worker and queue by name.
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
 * wrangler.toml with every name handed over declared a secret. wrangler gives the Worker only declared names as soon as
 * a configuration declares any, and takes their values from its environment.
 */
async function writeConfig(stateDir: string, names: readonly string[]): Promise<string> {
  // Most of a second to load: not before signals are heard and the database is up.
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

/** It must exist: Node itself looks for an `--env-file` among a script's arguments too, and refuses to start without it. */
function writeEmptyFile(file: string): string {
  writeFileSync(file, "");
  return file;
}

async function stop(guard: ChildProcess, ended: Promise<void>): Promise<void> {
  guard.stdin?.end();
  await Promise.race([ended, setTimeout(STOP_GRACE_MS)]);
  if (guard.pid === undefined || process.platform === "win32") return;
  try {
    // Also when the guard is gone: if it was killed, the rest of its group is still there.
    process.kill(-guard.pid, "SIGKILL");
  } catch (error) {
    // ESRCH: nothing is left, as it should be.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
  await ended;
}
