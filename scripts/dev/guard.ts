import { spawn } from "node:child_process";

/**
 * Runs a command until its own standard input closes, then ends the whole process group. A killed parent can't stop its
 * children, but its pipe closes, so wrangler and workerd never keep the port. Must be started detached, so that this
 * process leads the group.
 */
const GRACE_MS = 3000;
const [command = "", ...args] = process.argv.slice(2);

// A signal to the group reaches the command too; the guard stays until the command has ended.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => undefined);

const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"] });
child.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
// When wrangler dies it leaves two workerd processes on the port: end the whole group, this process included.
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
  // Windows has no process groups; wrangler ends its own workerd there.
  if (process.platform === "win32") child.kill();
  else process.kill(-process.pid, signal);
}
