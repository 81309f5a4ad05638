import type { NotFoundHandler } from "hono";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { AppError } from "../domain/errors.ts";
import type { AppEnv } from "./context.ts";
import { errorResponse } from "./errors.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** The methods that have a route at a path. */
export const methodsOf = (app: OpenAPIHono<AppEnv>, path: string): string[] =>
  METHODS.filter((method) => app.router.match(method, path)[0].some(([[, route]]) => route.method === method));

/** 405 with `Allow` for a path that has routes of other methods, else 404. */
export const unknownRoute =
  (app: OpenAPIHono<AppEnv>): NotFoundHandler<AppEnv> =>
  (c) => {
    const allowed = methodsOf(app, c.req.path);
    if (allowed.length === 0)
      return errorResponse(c, new AppError("ROUTE_NOT_FOUND", "There is no route at this path"));
    c.header("Allow", allowed.join(", "));
    return errorResponse(c, new AppError("METHOD_NOT_ALLOWED", `This path takes ${allowed.join(", ")}`));
  };
