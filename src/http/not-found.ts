import type { NotFoundHandler } from "hono";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { AppError } from "../domain/errors.ts";
import type { AppEnv } from "./context.ts";
import { errorResponse } from "./errors.ts";

const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/** 405 with `Allow` for a path that other methods have, 404 for one that none has. */
export const unknownRoute =
  (app: OpenAPIHono<AppEnv>): NotFoundHandler<AppEnv> =>
  (c) => {
    const allowed = METHODS.filter((method) =>
      app.router.match(method, c.req.path)[0].some(([[, route]]) => route.method === method),
    );
    if (allowed.length === 0) return errorResponse(c, new AppError("ROUTE_NOT_FOUND", "There is nothing at this path"));
    c.header("Allow", allowed.join(", "));
    return errorResponse(c, new AppError("METHOD_NOT_ALLOWED", `This path takes ${allowed.join(", ")}`));
  };
