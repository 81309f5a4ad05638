import type { Context } from "hono";
import type { Deps } from "../deps.ts";
import type { LogFields } from "../telemetry/logger.ts";

/** What a request carries from middleware to route. */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    deps: Deps;
    /** Why there are no `deps`. Health checks tell it; everything else is behind `configured`. */
    fault: unknown;
    traceId: string;
    /** Set when the request had one that may be echoed. */
    requestId: string | undefined;
    /** The parsed JSON body, as it was sent. */
    body: unknown;
    /** Epoch milliseconds. */
    receivedAt: number;
    /** What the request's one log line will say besides. */
    event: LogFields;
  };
};

/** A request's context as functions take it; middleware may have added variables of its own. */
export type AppContext = Pick<Context<AppEnv>, "req" | "var" | "header" | "json" | "text">;

/** Adds to the request's one log line. */
export const addLogFields = (c: AppContext, fields: LogFields): void => {
  Object.assign(c.var.event, fields);
};
