import { pingDatabase } from "../db/health.ts";
import type { Deps } from "../deps.ts";
import { EVENT } from "../telemetry/events.ts";
import { VERSION } from "../version.ts";

export type Health = {
  status: "healthy" | "unhealthy";
  checks: { database: { status: "healthy" | "unhealthy"; latency_ms: number | null } };
  /** A figure, not a check. */
  instance_cache: { hits: number; misses: number; size: number };
  version: string;
};

/** The report when the configuration is invalid. */
export const UNCONFIGURED: Health = {
  status: "unhealthy",
  checks: { database: { status: "unhealthy", latency_ms: null } },
  instance_cache: { hits: 0, misses: 0, size: 0 },
  version: VERSION,
};

/**
 * Reports the service's health. An unavailable database is reported, not thrown. The database is asked at most once a
 * second by an isolate, however many clients ask.
 */
export async function checkHealth({
  db,
  now,
  log,
  caches,
}: Pick<Deps, "db" | "now" | "log" | "caches">): Promise<Health> {
  const latency = await caches.databaseLatency.get("", () =>
    pingDatabase(db, now).catch((error: unknown) => log.warn(EVENT.databaseUnavailable, { error }) ?? null),
  );
  const status = latency === null ? "unhealthy" : "healthy";
  return {
    status,
    checks: { database: { status, latency_ms: latency } },
    instance_cache: caches.instances.counters,
    version: VERSION,
  };
}
