import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
import type { AppContext, AppEnv } from "../http/context.ts";
import { addLogFields } from "../http/context.ts";
import { json } from "../http/openapi.ts";
import { checkHealth, UNCONFIGURED } from "../services/health.ts";
import type { Health as HealthReport } from "../services/health.ts";

const Live = z.object({ status: z.literal("alive") }).meta({ id: "Live" });
const Ready = z.object({ status: z.enum(["ready", "not_ready"]) }).meta({ id: "Ready" });
const Health = z
  .object({
    status: z.enum(["healthy", "unhealthy"]),
    checks: z.object({
      database: z.object({ status: z.enum(["healthy", "unhealthy"]), latency_ms: z.number().nullable() }),
    }),
    instance_cache: z.object({ hits: z.int(), misses: z.int(), size: z.int() }),
    version: z.string(),
  })
  .meta({ id: "Health" });

const live = createRoute({
  method: "get",
  path: "/live",
  summary: "The service is running",
  responses: { 200: { description: "Alive", ...json(Live) } },
});
const ready = createRoute({
  method: "get",
  path: "/ready",
  summary: "The service can take messages",
  responses: { 200: { description: "Ready", ...json(Ready) }, 503: { description: "Not ready", ...json(Ready) } },
});
const healthz = createRoute({
  method: "get",
  path: "/healthz",
  summary: "The service in detail",
  responses: { 200: { description: "Healthy", ...json(Health) }, 503: { description: "Unhealthy", ...json(Health) } },
});

/** For monitoring, which reads them as they are: no envelope. */
export const healthRoutes = new OpenAPIHono<AppEnv>()
  .openapi(live, (c) => c.json({ status: "alive" as const }, 200))
  .openapi(ready, async (c) => {
    const { status } = await healthOf(c);
    return status === "healthy"
      ? c.json({ status: "ready" as const }, 200)
      : c.json({ status: "not_ready" as const }, 503);
  })
  .openapi(healthz, async (c) => {
    const health = await healthOf(c);
    return c.json(health, health.status === "healthy" ? 200 : 503);
  });

async function healthOf(c: AppContext): Promise<HealthReport> {
  if (c.var.fault === undefined) return checkHealth(c.var.deps);
  addLogFields(c, { error: c.var.fault });
  return UNCONFIGURED;
}
