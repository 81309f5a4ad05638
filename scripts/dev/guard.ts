import { spawn } from "node:child_process";

/**
 * Runs a command as long as its own standard input is open, and takes the whole process group down when it closes.
 * A parent that is killed can't stop its children; the pipe closes all the same, so wrangler and workerd never stay on
 * the port. Started detached, so that this process leads the group.
 */
const GRACE_MS = 3000;
const [command = "", ...args] = process.argv.slice(2);

// Signals to the group reach the command by itself; the guard stays until that has ended.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"] });
child.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
// What wrangler leaves behind when it dies (two workerd on the port) goes with it, and so does this process.
child.on("exit", (code) => {
  signalGroup("SIGKILL");
  process.exit(code ?? 1);
});

process.stdin.on("end", stop);
process.stdin.on("error", stop);
process.stdin.resume();

function stop(): void {
  signalGroup("SIGTERM");
  setTimeout(() => signalGroup("SIGKILL"), GRACE_MS).unref();
}

function signalGroup(signal: NodeJS.Signals): void {
  // Windows has no process groups; there wrangler ends its own workerd.
  if (process.platform === "win32") child.kill();
  else process.kill(-process.pid, signal);
}
