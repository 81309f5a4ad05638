import type { OpenAPIHono } from "@hono/zod-openapi";
import { VERSION } from "../version.ts";
import type { AppEnv } from "./context.ts";
import { errorExamples, HEADERS, SECURITY_SCHEMES } from "./openapi.ts";

const TAGS = [
  { name: "Messages", description: "Send a message and get the assistant's reply" },
  { name: "Conversations", description: "Sessions, their messages and their token usage" },
  { name: "Broadcasts", description: "One message to up to 100 users" },
  { name: "Webhooks", description: "Endpoints that other companies call" },
  { name: "Monitoring", description: "Health of the service, and this document" },
];

const INFO = {
  openapi: "3.1.0",
  info: {
    title: "Parley",
    version: VERSION,
    description: "A conversation gateway between a brand's channels and its assistant.",
    license: { name: "MIT", identifier: "MIT" },
  },
  servers: [{ url: "/", description: "The deployment that serves this document" }],
  tags: TAGS,
};

/** The OpenAPI document of the contracts that are registered with the app. Registers the components they refer to: call it once. */
export function documentOf({ openAPIRegistry: registry, getOpenAPI31Document }: OpenAPIHono<AppEnv>): object {
  const contracts = registry.definitions.flatMap((each) => (each.type === "route" ? [each.route] : []));
  const register = (kind: "securitySchemes" | "headers" | "examples", components: Record<string, object>) => {
    for (const [name, component] of Object.entries(components)) registry.registerComponent(kind, name, component);
  };
  register("securitySchemes", SECURITY_SCHEMES);
  register("headers", HEADERS);
  register("examples", errorExamples(contracts));
  return getOpenAPI31Document(INFO);
}
