import { createServer } from "node:net";
import { setTimeout } from "node:timers/promises";

/** Throws when the port is still in use after `waitMs`, the time for an ending process to release it. */
export async function requireFreePort(name: string, port: number, waitMs = 0): Promise<void> {
  const deadline = performance.now() + waitMs;
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
