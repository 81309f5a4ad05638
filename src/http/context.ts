import type { Context } from "hono";
import type { Deps } from "../deps.ts";
import type { LogFields } from "../telemetry/logger.ts";

/** Variables of a request, set by middleware. */
export type AppEnv = {
  Bindings: Env;
  Variables: {
    deps: Deps;
    /** The error that prevented `deps`. Health checks report it; other routes are behind `requireConfig`. */
    fault: unknown;
    traceId: string;
    /** The request id, when the request has a well-formed one. */
    requestId: string | undefined;
    /** The parsed JSON body, not validated. */
    body: unknown;
    /** Epoch milliseconds. */
    receivedAt: number;
    /** Extra fields of the request's log line. */
    event: LogFields;
  };
};

/** A request's context as functions take it; middleware may have added variables of its own. */
export type AppContext = Pick<Context<AppEnv>, "req" | "var" | "header" | "json" | "text">;

/** Adds to the request's one log line. */
export const addLogFields = (c: AppContext, fields: LogFields): void => {
  Object.assign(c.var.event, fields);
};
