import { createRoute, z } from "@hono/zod-openapi";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { createDeps } from "./compose.ts";
import type { AppEnv } from "./http/context.ts";
import { cors } from "./http/cors.ts";
import { documentOf } from "./http/document.ts";
import { onError } from "./http/errors.ts";
import { requireConfig, requestContext } from "./http/middleware.ts";
import { methodsOf, unknownRoute } from "./http/not-found.ts";
import { json, PUBLIC, refusals } from "./http/openapi.ts";
import { createRouter } from "./http/router.ts";
import { broadcastRoutes } from "./routes/broadcasts/routes.ts";
import { conversationReadRoutes } from "./routes/conversations/read.ts";
import { conversationWriteRoutes } from "./routes/conversations/write.ts";
import { healthRoutes } from "./routes/health.ts";
import { messageRoutes } from "./routes/messages/routes.ts";
import { whatsappRoutes } from "./routes/messages/whatsapp.ts";
import { webhookRoutes } from "./routes/webhooks/whatsapp.ts";

const describe = createRoute({
  method: "get",
  path: "/openapi.json",
  operationId: "getOpenApiDocument",
  tags: ["Monitoring"],
  security: PUBLIC,
  summary: "Get this document",
  responses: {
    200: { description: "OpenAPI 3.1", ...json(z.looseObject({})) },
    ...refusals("INTERNAL_ERROR", "SERVICE_UNAVAILABLE"),
  },
});

/** The HTTP app. Tests pass their own dependencies; production builds them from its bindings. */
export function createApp(dependencies: typeof createDeps = createDeps): OpenAPIHono<AppEnv> {
  const app = createRouter();
  app.onError(onError);
  app.notFound(unknownRoute(app));
  app.use(requestContext(dependencies));
  app.route("/", healthRoutes);
  app.use(requireConfig);
  app.use(cors((path) => methodsOf(app, path)));
  app.route("/", messageRoutes);
  app.route("/", whatsappRoutes);
  app.route("/", webhookRoutes);
  app.route("/", broadcastRoutes);
  app.route("/", conversationReadRoutes);
  app.route("/", conversationWriteRoutes);
  let document: object | undefined;
  return app.openapi(describe, (c) => {
    document ??= documentOf(app);
    c.header("Cache-Control", "public, max-age=300");
    return c.json({ ...document }, 200);
  });
}
