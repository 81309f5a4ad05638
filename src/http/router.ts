import { OpenAPIHono, z } from "@hono/zod-openapi";
import type { RouteConfig } from "@hono/zod-openapi";
import { shapeError } from "./body.ts";
import type { AppEnv } from "./context.ts";
import { documented } from "./openapi.ts";

/**
 * A router with handlers typed by their contracts: `router.openapi(contract, handler)` does not compile when the
 * handler answers what the contract does not state. Path and query are checked here, after the contract's middleware;
 * headers and the JSON body are left to middleware (`jsonBody`), which bounds the body and reads it once.
 */
export function createRouter(): OpenAPIHono<AppEnv> {
  const router = new OpenAPIHono<AppEnv>({
    // A trailing slash counts as absent.
    strict: false,
    defaultHook: (result) => {
      if (!result.success) throw shapeError(result.error, 422);
    },
  });
  const { openapi } = router;
  router.openapi = (({ middleware, ...contract }: RouteConfig, handler: never) => {
    router.openAPIRegistry.registerPath(documented(contract));
    const { params, query } = contract.request ?? {};
    const request = { ...(params && { params }), ...(query && { query: z.preprocess(withoutEmpty, query) }) };
    openapi({ ...contract, ...(middleware && { middleware }), request, hide: true }, handler);
    return router;
  }) as typeof openapi;
  return router;
}

/** An empty parameter counts as absent; of a repeated one the first value counts. */
const withoutEmpty = (query: unknown): unknown =>
  Object.fromEntries(
    Object.entries(query as Record<string, string | string[]>)
      .map(([name, value]) => [name, [value].flat()[0]])
      .filter(([, value]) => value !== ""),
  );
