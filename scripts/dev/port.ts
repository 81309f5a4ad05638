import { createServer } from "node:net";
import { setTimeout } from "node:timers/promises";

/** Throws one line when something listens on the port; `joinTimeoutMs` gives a process that is just ending time to leave. */
export async function requireFreePort(name: string, port: number, joinTimeoutMs = 0): Promise<void> {
  const deadline = performance.now() + joinTimeoutMs;
  while (!(await isFree(port))) {
    if (performance.now() >= deadline) {
      throw new Error(`port ${port} is already in use: stop what listens there or set ${name}`);
    }
    await setTimeout(100);
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    probe.listen(port, "127.0.0.1", () => probe.close(() => resolve(true)));
  });
}
