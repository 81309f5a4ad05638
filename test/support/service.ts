import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as pause } from "node:timers/promises";
import { killTree } from "./processes.ts";

export type Reply = {
  status: number;
  headers: Headers;
  /** The response body as text. */
  text: string;
  /** The body as JSON; undefined when it is not JSON. */
  body: any;
};

export type LogLine = Record<string, any> & { event: string };

export type Service = {
  url: string;
  /** Posts a body: an object as JSON, a string or bytes unchanged. */
  say(path: string, body: unknown, headers?: Record<string, string>): Promise<Reply>;
  /** Posts as `say`, again and again while the service refuses for want of time (503): a slow machine does. */
  insist(path: string, body: unknown, headers?: Record<string, string>): Promise<Reply>;
  request(path: string, init?: RequestInit): Promise<Reply>;
  /** Rows as Postgres text by column name, from the database's endpoint. */
  query(sql: string, params?: (string | null)[]): Promise<Record<string, string | null>[]>;
  /** JSON log lines of the Worker since the first start. */
  log(): readonly LogLine[];
  /** Output of the service since the first start. */
  output(): string;
  /** Kills everything at once (SIGKILL), workerd and database too. */
  kill(): Promise<void>;
  /** Restarts on the same folder and port, with additional environment if given. */
  restart(env?: Environment): Promise<void>;
  /** Stops it and removes its files, except a folder given by the caller. */
  stop(): Promise<void>;
};

export type Environment = Record<string, string>;

export type ServiceOptions = {
  /** Environment besides ports and folder. The shell's environment is not inherited. */
  env?: Environment;
  /** A new temporary folder by default. */
  stateDir?: string;
};

const ROOT = join(import.meta.dirname, "../..");
/** Parts of the repository that `npm run dev` needs, besides node_modules. */
const SOURCES = ["src", "durable-objects", "scripts", "drizzle", "wrangler.toml", "package.json", "tsconfig.json"];
const START_TIMEOUT_MS = 60_000;
const REQUEST_TIMEOUT_MS = 60_000;
const RETRY_MS = 200;
const INHERITED = ["PATH", "HOME", "TMPDIR", "TEMP", "USERPROFILE", "SystemRoot", "PATHEXT", "COMSPEC", "APPDATA"];

/**
 * Starts the whole service as `npm run dev` does, on a free port and in its own process group; resolves when it is ready.
 * It runs from a copy of the sources, since the Worker reloads when a source changes.
 */
export async function startService(options: ServiceOptions = {}): Promise<Service> {
  const folder = await mkdtemp(join(tmpdir(), "parley-service-"));
  const root = join(folder, "code");
  await Promise.all(SOURCES.map((name) => cp(join(ROOT, name), join(root, name), { recursive: true })));
  await symlink(join(ROOT, "node_modules"), join(root, "node_modules"), "junction");
  const stateDir = options.stateDir ?? join(folder, "state");
  const url = `http://127.0.0.1:${await freePort()}`;
  const printed: string[] = [];
  const print = (line: string) => printed.push(line);
  let env = { ...options.env, STATE_DIR: stateDir, PORT: new URL(url).port };
  const remove = () => rm(folder, { recursive: true, force: true });
  let running = await start(root, env, print).catch(async (error: unknown) => {
    await remove();
    throw error;
  });

  return {
    ...requestsTo(url),
    query: (sql, params = []) => queryEndpoint(running.database, sql, params),
    log: () => logLines(printed.join("\n")),
    output: () => printed.join("\n"),
    kill: () => running.kill(),
    restart: async (more = {}) => {
      await running.stop();
      env = { ...env, ...more };
      running = await start(root, env, print);
    },
    stop: async () => {
      await running.stop();
      await remove();
    },
  };
}

/** Requests to a service. */
export function requestsTo(url: string): Pick<Service, "url" | "request" | "say" | "insist"> {
  const request: Service["request"] = async (path, init = {}) => {
    const response = await fetch(`${url}${path}`, { signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS), ...init });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: asJson(text) };
  };
  const say: Service["say"] = (path, body, headers = {}) =>
    request(path, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...headers },
      body: typeof body === "string" || body instanceof Uint8Array ? (body as string) : JSON.stringify(body),
    });
  return {
    url,
    request,
    say,
    insist: async (path, body, headers) => {
      for (;;) {
        const reply = await say(path, body, headers);
        if (reply.status !== 503) return reply;
        await pause(RETRY_MS);
      }
    },
  };
}

type Running = { database: string; kill(): Promise<void>; stop(): Promise<void> };

async function start(root: string, env: Environment, print: (line: string) => void): Promise<Running> {
  const inherited = Object.fromEntries(INHERITED.flatMap((name) => [[name, process.env[name]]]));
  // The guard ends the whole group when its standard input closes, even when the test run is killed.
  const child = spawn(process.execPath, ["scripts/dev/guard.ts", process.execPath, "scripts/dev.ts"], {
    cwd: root,
    env: { ...inherited, ...env } as NodeJS.ProcessEnv,
    stdio: ["pipe", "pipe", "pipe"],
    detached: process.platform !== "win32",
  });
  const ended = new Promise<void>((resolve) => {
    child.once("exit", () => resolve());
  });
  try {
    const database = await untilReady(child, print);
    return {
      database,
      kill: async () => {
        if (child.pid !== undefined) await killTree(child.pid);
        await ended;
      },
      stop: async () => {
        child.stdin?.end();
        await ended;
      },
    };
  } catch (error) {
    child.stdin?.end();
    await ended;
    throw error;
  }
}

/** The database's URL, once the service is ready. */
function untilReady(child: ChildProcess, print: (line: string) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const lines: string[] = [];
    let database = "";
    const give = (why: string) => reject(new Error(`The service ${why}:\n${lines.join("\n")}`));
    const timer = setTimeout(() => give(`was not ready within ${START_TIMEOUT_MS} ms`), START_TIMEOUT_MS);
    child.once("exit", (code) => {
      clearTimeout(timer);
      give(`ended with ${code} before it was ready`);
    });
    const read = (line: string) => {
      print(line);
      lines.push(line);
      const [word, address = ""] = line.split(/\s+/);
      if (word === "database") database = address;
      // Otherwise it would wait for a source to change.
      if (line.includes("Build failed")) setTimeout(() => give("could not be built"), 500);
      if (word !== "ready") return;
      clearTimeout(timer);
      resolve(database);
    };
    for (const stream of [child.stdout, child.stderr]) if (stream) createInterface({ input: stream }).on("line", read);
  });
}

async function queryEndpoint(
  endpoint: string,
  query: string,
  params: (string | null)[],
): Promise<Record<string, string | null>[]> {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: {
      "Neon-Connection-String": "postgresql://test:test@localhost/test",
      "Neon-Raw-Text-Output": "true",
      "Neon-Array-Mode": "false",
    },
    body: JSON.stringify({ query, params }),
  });
  const result = (await response.json()) as { rows: Record<string, string | null>[]; message?: string };
  if (!response.ok) throw new Error(result.message);
  return result.rows;
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The JSON log lines of an output. */
export const logLines = (output: string): LogLine[] => output.split("\n").flatMap(asLogLine);

function asLogLine(line: string): LogLine[] {
  const value = line.startsWith("{") ? asJson(line) : undefined;
  return typeof value === "object" && value !== null && "event" in value ? [value as LogLine] : [];
}

/** A free port. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
