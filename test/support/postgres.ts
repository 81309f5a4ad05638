import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import pg from "pg";

export type PostgresServer = {
  connectionString: string;
  stop(): Promise<void>;
};

const VERSIONS = "/usr/lib/postgresql";
/** Postgres refuses to run as root. */
const NOBODY = 65_534;

/** Folder of `initdb` and `postgres`; null on a machine without them. */
function findPrograms(): string | null {
  const versions = existsSync(VERSIONS) ? readdirSync(VERSIONS).map((version) => join(VERSIONS, version, "bin")) : [];
  const folders = [...versions, ...(process.env["PATH"] ?? "").split(delimiter)];
  return folders.find((folder) => ["initdb", "postgres"].every((name) => existsSync(join(folder, name)))) ?? null;
}

/** Starts a Postgres server in a temporary folder, reached by its socket; null on a machine without the programs. */
export async function startPostgres(): Promise<PostgresServer | null> {
  const programs = findPrograms();
  if (programs === null) return null;
  const folder = mkdtempSync(join(tmpdir(), "parley-postgres-"));
  const isRoot = process.getuid?.() === 0;
  const as = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  if (isRoot) chownSync(folder, NOBODY, NOBODY);
  const data = join(folder, "data");
  const init = ["-D", data, "-U", "parley", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
  await promisify(execFile)(join(programs, "initdb"), init, { cwd: folder, ...as });

  // The shell ends the server when its standard input closes, which happens even when this process is killed.
  const server = spawn(
    "sh",
    [
      "-c",
      '"$0" "$@" >/dev/null 2>&1 & cat >/dev/null; kill -QUIT $!; wait',
      join(programs, "postgres"),
      ...["-D", data, "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"],
    ],
    { cwd: folder, stdio: ["pipe", "ignore", "ignore"], ...as },
  );
  const stop = async () => {
    const ended = once(server, "exit");
    server.stdin.end();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  const connectionString = `postgresql://parley@localhost/postgres?host=${folder}`;
  await answers(connectionString);
  return { connectionString, stop };
}

/** Creates a database in an existing server, dropped at the end. */
export async function borrowPostgres(url: string): Promise<PostgresServer> {
  const name = `parley_${randomUUID().replaceAll("-", "")}`;
  const manage = async (statement: string) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(statement);
    await client.end();
  };
  await manage(`create database ${name}`);
  const own = new URL(url);
  own.pathname = `/${name}`;
  return { connectionString: own.href, stop: () => manage(`drop database ${name} with (force)`) };
}

async function answers(connectionString: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const client = new pg.Client({ connectionString });
    try {
      await client.connect();
      return;
    } catch (error) {
      if (attempt === 200) throw error;
      await setTimeout(50);
    } finally {
      await client.end();
    }
  }
}
