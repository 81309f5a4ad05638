import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./context.ts";
import type { Deps } from "../deps.ts";
import { createLogger } from "../telemetry/logger.ts";
import type { Logger } from "../telemetry/logger.ts";
import { onError } from "./errors.ts";
import { echoedRequestId, optionalRequestId, traceIdOf } from "./request-ids.ts";
import { EVENT } from "../telemetry/events.ts";

/** Sets up every request: ids, dependencies, response headers and one log line. */
export const requestContext = (createDeps: (env: Env, background: Deps["background"]) => Deps) =>
  createMiddleware<AppEnv>(async (c, next) => {
    const header = (name: string) => c.req.header(name);
    c.set("receivedAt", Date.now());
    c.set("event", {});
    c.set("traceId", traceIdOf(header));
    c.set("requestId", optionalRequestId(header));
    try {
      c.set(
        "deps",
        createDeps(c.env, (work) => c.executionCtx.waitUntil(work)),
      );
    } catch (error) {
      c.set("fault", error);
    }
    // Hono passes only an `Error` to `onError`; any other thrown value arrives here.
    await next().catch(async (thrown: unknown) => {
      c.res = await onError(new Error("A value that is no Error was thrown", { cause: thrown }), c);
    });

    c.header("X-Trace-ID", c.var.traceId);
    const echoed = echoedRequestId(header, c.var.requestId);
    if (echoed !== undefined) c.header("X-Request-ID", echoed);
    c.header("X-Content-Type-Options", "nosniff");
    // Answers hold personal data, which no cache may keep. The document sets its own value.
    if (!c.res.headers.has("Cache-Control")) c.header("Cache-Control", "no-store");
    if (c.res.headers.get("Content-Type") === "application/json") {
      c.header("Content-Type", "application/json; charset=utf-8");
    }
    const { status } = c.res;
    const { log, caches } = c.var.fault === undefined ? c.var.deps : { log: plainLogger(), caches: null };
    log[status >= 500 ? "error" : status >= 400 ? "warn" : "info"](EVENT.request, {
      trace_id: c.var.traceId,
      request_id: c.var.requestId,
      method: c.req.method,
      path: c.req.path,
      status,
      duration_ms: Date.now() - c.var.receivedAt,
      instance_cache: caches?.instances.counters,
      ...c.var.event,
    });
  });

/** Rejects every request when the configuration is invalid. */
export const requireConfig = createMiddleware<AppEnv>(async (c, next) => {
  if (c.var.fault !== undefined) throw c.var.fault;
  await next();
});

/** Logger for requests without a valid configuration. */
const plainLogger = (): Logger =>
  createLogger({ level: "info", format: "json", write: (line) => console.log(line), now: Date.now });
