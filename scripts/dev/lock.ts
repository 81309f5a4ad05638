import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type StateLock = {
  /** Whether the previous run was killed: its Worker may keep the port for a moment. */
  afterCrash: boolean;
  release(): void;
};

/**
 * Locks the folder with a file that holds the owner's process id: PGlite has no lock, and two databases on one folder
 * would destroy it. Throws when a running process owns the folder; takes over the lock of a dead one.
 */
export function lockState(stateDir: string): StateLock {
  mkdirSync(stateDir, { recursive: true });
  const file = join(stateDir, "dev.pid");
  const owner = readOwner(file);
  if (owner !== null && owner !== process.pid && isDevelopmentServer(owner)) {
    throw new Error(`STATE_DIR ${stateDir} is in use by another npm run dev (process ${owner})`);
  }
  writeFileSync(file, String(process.pid));
  return { afterCrash: owner !== null, release: () => rmSync(file, { force: true }) };
}

function readOwner(file: string): number | null {
  try {
    return Number(readFileSync(file, "utf8")) || null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function isDevelopmentServer(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: the process runs under another user.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  try {
    // After a restart of the machine or container, an unrelated process may have the same id.
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("dev.ts");
  } catch {
    return true;
  }
}
