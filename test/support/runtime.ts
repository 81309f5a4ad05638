import { join } from "node:path";
import type { Readable } from "node:stream";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { unstable_getMiniflareWorkerOptions, unstable_readConfig } from "wrangler";
import type { RuntimeOptions, RuntimeOrder } from "./built-worker.ts";

// The process of `startRuntime`: built Workers in workerd, until its parent disconnects.

const { workers, stateDir, inspectorPort } = JSON.parse(process.argv[2] ?? "") as RuntimeOptions;

const runtime = new Miniflare(
  convertV4MiniflareOptions({
    ...(inspectorPort === undefined ? {} : { inspectorPort }),
    log: new Log(LogLevel.ERROR),
    cf: false,
    defaultPersistRoot: stateDir,
    resourcePersistencePath: stateDir,
    handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
      stdout.pipe(process.stdout);
      stderr.pipe(process.stderr);
    },
    workers: workers.map(({ config, entry, bundle, port, variables }) => {
      const { workerOptions, main = "" } = unstable_getMiniflareWorkerOptions(config);
      const path = join(bundle, (entry ?? main).replace(/^.*\//, "").replace(/\.ts$/, ".js"));
      return {
        ...workerOptions,
        name: unstable_readConfig({ config }).name ?? bundle,
        modules: [{ type: "ESModule", path }],
        modulesRoot: bundle,
        bindings: variables,
        unsafeDirectSockets: [{ host: "127.0.0.1", port }],
      };
    }),
  }),
);
process.on("disconnect", () => {
  // Open requests must not prevent the exit.
  setTimeout(() => process.exit(1), 5_000);
  void runtime.dispose().then(() => process.exit(0));
});
process.on("message", ({ id, order }: { id: string; order: RuntimeOrder }) => {
  const [worker, className, name] = order.evict;
  runtime.unsafeEvictDurableObject(worker, className, { name }).then(
    () => process.send?.({ id }),
    (error: unknown) => process.send?.({ id, error: String(error) }),
  );
});
await runtime.ready;
process.send?.("ready");
