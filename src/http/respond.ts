import type { TypedResponse } from "hono";
import type { JSONParsed } from "hono/utils/types";
import type { AppContext } from "./context.ts";

type Envelope<Data> = { success: true; data: Data; message: string };

/** The success envelope, typed so that a route's contract checks `data`. */
export const respond = <Status extends 200 | 201 | 202, Data extends object>(
  c: AppContext,
  status: Status,
  data: Data,
  message: string,
): Response & TypedResponse<JSONParsed<Envelope<Data>>, Status, "json"> =>
  c.json({ success: true, data, message }, status) as never;
