import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout } from "node:timers/promises";

type Process = { pid: number; parent: number; zombie: boolean };

/** Kills a process and all its descendants in any process group, as a crash does. */
export async function killTree(root: number): Promise<void> {
  const all = processes();
  const tree = [root];
  for (const pid of tree) tree.push(...all.filter(({ parent }) => parent === pid).map((child) => child.pid));
  for (const pid of tree) kill(pid);
  const left = () => processes().filter(({ pid, zombie }) => tree.includes(pid) && !zombie);
  while (left().length > 0) await setTimeout(20);
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    // ESRCH: the process has ended.
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Small machines have no `ps`, and others no /proc. */
const processes = (): Process[] => (process.platform === "linux" ? fromProc() : fromPs());

function fromProc(): Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      try {
        const stat = readFileSync(`/proc/${name}/stat`, "utf8");
        // `pid (any name) state ppid ...`: the name may hold spaces and parentheses.
        const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
        return [{ pid: Number(name), parent: Number(parent), zombie: state === "Z" }];
      } catch {
        // The process has ended meanwhile.
        return [];
      }
    });
}

const fromPs = (): Process[] =>
  execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat="], { encoding: "utf8" })
    .trim()
    .split("\n")
    .map((line) => {
      const [pid, parent, stat = ""] = line.trim().split(/\s+/);
      return { pid: Number(pid), parent: Number(parent), zombie: stat.startsWith("Z") };
    });
