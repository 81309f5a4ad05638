import type { z } from "zod";
import { shapeError } from "./body.ts";
import type { AppContext } from "./context.ts";

/** The query of a request as a schema reads it. Refuses (422) a wrong shape. */
export function parseQuery<Schema extends z.ZodType>(c: AppContext, schema: Schema): z.output<Schema> {
  const result = schema.safeParse(c.req.query());
  if (!result.success) throw shapeError(result.error, 422);
  return result.data;
}
