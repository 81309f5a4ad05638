import { createRoute, z } from "@hono/zod-openapi";
import type { AppContext } from "../http/context.ts";
import { addLogFields } from "../http/context.ts";
import { json, PUBLIC, refusals } from "../http/openapi.ts";
import { createRouter } from "../http/router.ts";
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

const MONITORING = { method: "get" as const, tags: ["Monitoring"], security: PUBLIC };

const live = createRoute({
  ...MONITORING,
  path: "/live",
  operationId: "getLive",
  summary: "Check that the service runs",
  responses: { 200: { description: "Alive", ...json(Live) }, ...refusals("INTERNAL_ERROR") },
});
const ready = createRoute({
  ...MONITORING,
  path: "/ready",
  operationId: "getReady",
  summary: "Check that the service can take messages",
  responses: {
    200: { description: "Ready", ...json(Ready) },
    503: { description: "The configuration is invalid or the database does not answer", ...json(Ready) },
    ...refusals("INTERNAL_ERROR"),
  },
});
const healthz = createRoute({
  ...MONITORING,
  path: "/healthz",
  operationId: "getHealth",
  summary: "Get the service's health in detail",
  responses: {
    200: { description: "Healthy", ...json(Health) },
    503: { description: "The configuration is invalid or the database does not answer", ...json(Health) },
    ...refusals("INTERNAL_ERROR"),
  },
});

/** For monitoring tools, which read the bodies without the envelope. */
export const healthRoutes = createRouter()
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
