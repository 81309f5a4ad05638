import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface StateLock {
  /** Whether the run before was killed instead of stopped: its Worker may need a moment to leave the port. */
  readonly afterCrash: boolean;
  release(): void;
}

/**
 * Two databases on one folder would destroy it, and PGlite doesn't look: a file with the owner's process id does.
 * Throws one line when a living process owns the folder; takes over from a dead one.
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
    // EPERM: it lives, under another user.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  try {
    // A new machine or container gives old numbers to new processes.
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("dev.ts");
  } catch {
    return true;
  }
}
