import { createMiddleware } from "hono/factory";
import { KEY_PREFIX } from "../services/api-key.ts";
import { isAllowedOrigin } from "../services/allowed-origins.ts";
import { EVENT } from "../telemetry/events.ts";
import type { AppContext, AppEnv } from "./context.ts";

/** Paths that browsers may call. */
const BROWSER_PATH = /^\/(?:web|app|v1|api)\//;
/** Of these, the paths that take an API key only. */
const KEY_PATH = /^\/api\/(?!v1\/)/;

const REQUEST_HEADERS = [
  "Accept",
  "Authorization",
  "Content-Type",
  "Idempotency-Key",
  "If-Match",
  "Prefer",
  "X-Request-ID",
  "X-Trace-ID",
  "traceparent",
].join(", ");
const EXPOSED_HEADERS = "X-Trace-ID, X-Request-ID, Retry-After, Idempotency-Replayed";
/** Browsers keep a preflight's answer this long; none keeps it longer than two hours. Seconds. */
const MAX_AGE = "7200";

/**
 * Cross-origin requests of browsers: answers preflights, and names the origin on responses that it may read. Credentials
 * are bearer tokens, never cookies. `methodsOf` are the methods of a path.
 * https://fetch.spec.whatwg.org/#http-cors-protocol
 */
export const cors = (methodsOf: (path: string) => string[]) =>
  createMiddleware<AppEnv>(async (c, next) => {
    const origin = c.req.header("Origin");
    if (origin === undefined || !BROWSER_PATH.test(c.req.path)) return next();
    const methods = isPreflight(c) ? methodsOf(c.req.path) : [];
    if (methods.length === 0) {
      await next();
      await allowOrigin(c, origin, { brandId: brandOf(c), withKey: hasKey(c) });
      return;
    }
    const isAllowed = await allowOrigin(c, origin, { brandId: null, withKey: KEY_PATH.test(c.req.path) });
    if (isAllowed) {
      c.header("Access-Control-Allow-Methods", methods.join(", "));
      c.header("Access-Control-Allow-Headers", REQUEST_HEADERS);
      c.header("Access-Control-Max-Age", MAX_AGE);
    }
    return c.body(null, 204);
  });

const isPreflight = (c: AppContext): boolean =>
  c.req.method === "OPTIONS" && c.req.header("Access-Control-Request-Method") !== undefined;

/** The brand that the handler has found; null for a request that was refused before. */
const brandOf = (c: AppContext): string | null => {
  const { brand_id: brandId } = c.var.event;
  return typeof brandId === "string" ? brandId : null;
};

const hasKey = (c: AppContext): boolean =>
  KEY_PATH.test(c.req.path) || (c.req.header("Authorization") ?? "").includes(` ${KEY_PREFIX}`);

/** Names the origin on the response if it is allowed. The response itself is never lost to a failed look-up. */
async function allowOrigin(
  c: AppContext,
  origin: string,
  request: { brandId: string | null; withKey: boolean },
): Promise<boolean> {
  const { deps, traceId } = c.var;
  const isAllowed = await isAllowedOrigin(deps, { origin, ...request }).catch((error: unknown) => {
    deps.log.warn(EVENT.allowedOriginsUnavailable, { error, trace_id: traceId });
    return false;
  });
  c.header("Vary", "Origin", { append: true });
  if (!isAllowed) return false;
  c.header("Access-Control-Allow-Origin", origin);
  c.header("Access-Control-Expose-Headers", EXPOSED_HEADERS);
  return true;
}
