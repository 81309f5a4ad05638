import { createMiddleware } from "hono/factory";
import type { AppEnv } from "./context.ts";
import type { Deps } from "../deps.ts";
import { createLogger } from "../telemetry/logger.ts";
import type { Logger } from "../telemetry/logger.ts";
import { onError } from "./errors.ts";
import { echoableRequestId, traceIdOf } from "./request-ids.ts";
import { EVENT } from "../telemetry/events.ts";

/** Every request: its ids, what it may touch, its headers and its one log line. */
export const requestContext = (createDeps: (env: Env, background: Deps["background"]) => Deps) =>
  createMiddleware<AppEnv>(async (c, next) => {
    const header = (name: string) => c.req.header(name);
    c.set("receivedAt", Date.now());
    c.set("event", {});
    c.set("traceId", traceIdOf(header));
    c.set("requestId", echoableRequestId(header));
    try {
      c.set(
        "deps",
        createDeps(c.env, (work) => c.executionCtx.waitUntil(work)),
      );
    } catch (error) {
      c.set("fault", error);
    }
    // Hono hands only an `Error` to `onError`; anything else that is thrown comes through here.
    await next().catch(async (thrown: unknown) => {
      c.res = await onError(new Error("What was thrown is no error", { cause: thrown }), c);
    });

    c.header("X-Trace-ID", c.var.traceId);
    if (c.var.requestId !== undefined) c.header("X-Request-ID", c.var.requestId);
    c.header("X-Content-Type-Options", "nosniff");
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

/** Nothing behind it runs without dependencies: what kept them from being made is thrown at whoever asks. */
export const requireConfig = createMiddleware<AppEnv>(async (c, next) => {
  if (c.var.fault !== undefined) throw c.var.fault;
  await next();
});

/** For when there is no configuration to say otherwise. */
const plainLogger = (): Logger =>
  createLogger({ level: "info", format: "json", write: (line) => console.log(line), now: Date.now });
