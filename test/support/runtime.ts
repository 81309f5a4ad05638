import { join } from "node:path";
import type { Readable } from "node:stream";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare } from "miniflare";
import { unstable_getMiniflareWorkerOptions } from "wrangler";
import type { RuntimeOptions } from "./built-worker.ts";

// The process `startRuntime` starts: built Workers in workerd, until nobody is connected any more.

const { workers, stateDir } = JSON.parse(process.argv[2] ?? "") as RuntimeOptions;

const runtime = new Miniflare(
  convertV4MiniflareOptions({
    log: new Log(LogLevel.ERROR),
    cf: false,
    defaultPersistRoot: stateDir,
    resourcePersistencePath: stateDir,
    handleRuntimeStdio: (stdout: Readable, stderr: Readable) => {
      stdout.pipe(process.stdout);
      stderr.pipe(process.stderr);
    },
    workers: workers.map(({ config, bundle, port, variables }) => {
      const { workerOptions, main = "" } = unstable_getMiniflareWorkerOptions(config);
      const path = join(bundle, main.replace(/^.*\//, "").replace(/\.ts$/, ".js"));
      return {
        ...workerOptions,
        modules: [{ type: "ESModule", path }],
        modulesRoot: bundle,
        bindings: variables,
        unsafeDirectSockets: [{ host: "127.0.0.1", port }],
      };
    }),
  }),
);
process.on("disconnect", () => void runtime.dispose().then(() => process.exit(0)));
await runtime.ready;
process.send?.("ready");
