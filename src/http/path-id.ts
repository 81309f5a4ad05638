import { z } from "zod";

/** An id in a path, in lower case. Its form is checked after authentication: a malformed id is 404 like an unknown one. */
export const PathId = z.string().trim().toLowerCase().meta({ type: "string", format: "uuid" });
