import { execFile, fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { randomUUID } from "node:crypto";
import { on, once } from "node:events";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { killTree } from "./processes.ts";

/** One Worker of a runtime. */
export type BuiltWorker = {
  /** Its wrangler.toml: bindings, objects, queues. */
  config: string;
  /** The entry of the build; by default the configuration's. */
  entry?: string;
  /** Output folder of `buildWorker`. */
  bundle: string;
  port: number;
  /** Secrets and variables; nothing else is configured. */
  variables: Record<string, string>;
};

export type Runtime = {
  /** Process id of Miniflare, whose only child is workerd. */
  pid: number;
  /** Process id of workerd (Linux). */
  workerd(): number;
  /** Output of the Workers, if recorded. */
  output(): string;
  /** Resident bytes of workerd (Linux). */
  residentBytes(): number;
  /** Evicts an object, as the platform does when it is idle; false when it is not loaded, or busy. */
  evict(worker: string, className: string, name: string): Promise<boolean>;
  /** Kills everything at once (SIGKILL). */
  kill(): Promise<void>;
  /** Stops it. */
  stop(): Promise<void>;
};

export type RuntimeOptions = {
  workers: BuiltWorker[];
  /** Folder of the objects' storage. */
  stateDir: string;
  /** Records the Workers' output. */
  recorded?: boolean;
  /** Port of the Chrome DevTools protocol. */
  inspectorPort?: number;
};

/** Commands of the runtime's process. */
export type RuntimeOrder = { evict: [worker: string, className: string, name: string] };

const ROOT = join(import.meta.dirname, "../..");
const QUIET = { CI: "1", WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true" };

/** Bundles a Worker as a deploy does, optionally with another entry. */
export async function buildWorker({ config, entry, bundle }: { config: string; entry?: string; bundle: string }) {
  const wrangler = join(dirname(createRequire(import.meta.url).resolve("wrangler/package.json")), "bin/wrangler.js");
  const args = [wrangler, "deploy", ...(entry === undefined ? [] : [entry]), "--dry-run"];
  await promisify(execFile)(process.execPath, [...args, "--config", config, "--outdir", bundle], {
    cwd: ROOT,
    env: { ...process.env, ...QUIET },
  });
}

/**
 * Starts built Workers in workerd, each on its own port, without a development server or proxy. They end with this
 * process, even when it is killed.
 */
export async function startRuntime({ recorded = false, ...options }: RuntimeOptions): Promise<Runtime> {
  const child = fork(join(import.meta.dirname, "runtime.ts"), [JSON.stringify(options)], {
    stdio: ["ignore", recorded ? "pipe" : "ignore", "inherit", "ipc"],
    // wrangler reads secrets from the environment.
    env: { ...process.env, ...QUIET, WRANGLER_LOG: "none" },
  });
  const printed: string[] = [];
  child.stdout?.setEncoding("utf8").on("data", (text: string) => printed.push(text));
  const ended = once(child, "exit");
  const [first] = await Promise.race([once(child, "message"), ended]);
  if (first !== "ready" || child.pid === undefined) throw new Error("The runtime ended before it was ready");
  const { pid } = child;
  return {
    pid,
    workerd: () => workerdOf(pid),
    output: () => printed.join(""),
    residentBytes: () => residentBytes(workerdOf(pid)),
    evict: async (...object) => {
      const error = await ask(child, { evict: object });
      if (error === undefined) return true;
      if (/not currently running|still has active references/.test(error)) return false;
      throw new Error(error);
    },
    kill: async () => {
      await killTree(pid);
      await ended;
    },
    stop: async () => {
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

/** Sends a command to the runtime's process; resolves with its result. */
async function ask(child: ChildProcess, order: RuntimeOrder): Promise<string | undefined> {
  const gone = "not currently running, and neither is the runtime";
  if (!child.connected) return gone;
  const id = randomUUID();
  // When the process ends first, its exit is reported instead.
  child.send({ id, order }, () => undefined);
  for await (const [answer] of on(child, "message", { close: ["exit"] })) {
    if (answer.id === id) return answer.error;
  }
  return gone;
}

function workerdOf(parent: number): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8").trim().split(" ").map(Number);
  const workerd = children.find((pid) => readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "workerd");
  if (workerd === undefined) throw new Error(`No workerd below ${parent}`);
  return workerd;
}

const residentBytes = (pid: number): number =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) * 1024;
