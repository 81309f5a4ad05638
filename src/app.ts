import { OpenAPIHono } from "@hono/zod-openapi";
import type { AppEnv } from "./http/context.ts";
import { onError } from "./http/errors.ts";
import { SECURITY_SCHEMES } from "./http/openapi.ts";
import { requireConfig, requestContext } from "./http/middleware.ts";
import { unknownRoute } from "./http/not-found.ts";
import { broadcastRoutes } from "./routes/broadcasts/routes.ts";
import { conversationReadRoutes } from "./routes/conversations/read.ts";
import { conversationWriteRoutes } from "./routes/conversations/write.ts";
import { healthRoutes } from "./routes/health.ts";
import { messageRoutes } from "./routes/messages/routes.ts";
import { webhookRoutes } from "./routes/webhooks/whatsapp.ts";
import { whatsappRoutes } from "./routes/messages/whatsapp.ts";
import { VERSION } from "./services/health.ts";
import { createDeps } from "./compose.ts";

/** The HTTP app. Tests pass their own dependencies; production builds them from its bindings. */
export function createApp(dependencies: typeof createDeps = createDeps): OpenAPIHono<AppEnv> {
  const app = new OpenAPIHono<AppEnv>();
  app.onError(onError);
  app.notFound(unknownRoute(app));
  app.use(requestContext(dependencies));
  app.route("/", healthRoutes);
  app.use(requireConfig);
  app.route("/", messageRoutes);
  app.route("/", whatsappRoutes);
  app.route("/", webhookRoutes);
  app.route("/", broadcastRoutes);
  app.route("/", conversationReadRoutes);
  app.route("/", conversationWriteRoutes);
  for (const [name, scheme] of Object.entries(SECURITY_SCHEMES)) {
    app.openAPIRegistry.registerComponent("securitySchemes", name, scheme);
  }
  app.openAPIRegistry.registerPath({
    method: "get",
    path: "/openapi.json",
    summary: "This document",
    responses: { 200: { description: "OpenAPI 3.1" } },
  });
  app.doc31("/openapi.json", { openapi: "3.1.0", info: { title: "Parley", version: VERSION } });
  return app;
}
