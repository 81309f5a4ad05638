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
  /** The entry it was built from, if not the configuration's own. */
  entry?: string;
  /** Where `buildWorker` left it. */
  bundle: string;
  port: number;
  /** Secrets and variables; nothing else is configured. */
  variables: Record<string, string>;
};

export type Runtime = {
  /** Its process: Miniflare, with workerd and nothing else below it. */
  pid: number;
  /** The runtime itself below it (Linux). */
  workerd(): number;
  /** What the Workers have written so far, when it is recorded. */
  output(): string;
  /** Bytes resident in workerd at this moment (Linux). */
  residentBytes(): number;
  /** Takes an object out of memory, as the platform does with one that is idle; false for one that is in none, or busy. */
  evict(worker: string, className: string, name: string): Promise<boolean>;
  /** SIGKILL for all of it at once: a crash. */
  kill(): Promise<void>;
  /** Ends it in good order. */
  stop(): Promise<void>;
};

export type RuntimeOptions = {
  workers: BuiltWorker[];
  /** Where objects keep their storage. */
  stateDir: string;
  /** What the Workers write is kept instead of thrown away. */
  recorded?: boolean;
  /** Where the runtime can be looked into, by the protocol of Chrome's DevTools. */
  inspectorPort?: number;
};

/** What the runtime's process can be told. */
export type RuntimeOrder = { evict: [worker: string, className: string, name: string] };

const ROOT = join(import.meta.dirname, "../..");
const QUIET = { CI: "1", WRANGLER_SEND_METRICS: "false", WRANGLER_HIDE_BANNER: "true" };

/** Bundles a Worker as a deploy would. Another entry than the configuration's may be named. */
export async function buildWorker({ config, entry, bundle }: { config: string; entry?: string; bundle: string }) {
  const wrangler = join(dirname(createRequire(import.meta.url).resolve("wrangler/package.json")), "bin/wrangler.js");
  const args = [wrangler, "deploy", ...(entry === undefined ? [] : [entry]), "--dry-run"];
  await promisify(execFile)(process.execPath, [...args, "--config", config, "--outdir", bundle], {
    cwd: ROOT,
    env: { ...process.env, ...QUIET },
  });
}

/**
 * Built Workers in the runtime they are deployed to, each on a port of its own that leads straight into it: no development
 * server, no proxy before it. Ends with this process, however that ends.
 */
export async function startRuntime({ recorded = false, ...options }: RuntimeOptions): Promise<Runtime> {
  const child = fork(join(import.meta.dirname, "runtime.ts"), [JSON.stringify(options)], {
    stdio: ["ignore", recorded ? "pipe" : "ignore", "inherit", "ipc"],
    // wrangler looks for secrets in the environment and is told of them otherwise.
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

/** Tells the runtime's process to do something; resolves when it says that it has, or why it has not. */
async function ask(child: ChildProcess, order: RuntimeOrder): Promise<string | undefined> {
  const gone = "not currently running, and neither is the runtime";
  if (!child.connected) return gone;
  const id = randomUUID();
  // One that ends before it reads this is seen to end.
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
