import { createMiddleware } from "hono/factory";
import { z } from "zod";
import { BodyTooLargeError, readBounded } from "../domain/bounded-body.ts";
import { AppError } from "../domain/errors.ts";
import { parseJson } from "../domain/json.ts";
import type { AppEnv } from "./context.ts";
import { optionalRequestId, traceIdOf } from "./request-ids.ts";

export const MAX_BODY_BYTES = 256 * 1024;
const MAX_DEPTH = 32;
const MAX_NODES = 10_000;

/** `application/json` or a `+json` type, with any parameters. */
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json\s*(?:;|$)/i;

/**
 * Reads a JSON body and checks it against a schema; the handler gets it by `c.req.valid("json")`. Refuses (415) another
 * media type or a content encoding, (413) more than 256 KB, (400) malformed JSON and one beyond the limits above, (422, or
 * `status`) another shape.
 */
export const jsonBody = <Schema extends z.ZodType>(schema: Schema, { status = 422 }: { status?: 400 | 422 } = {}) =>
  createMiddleware<AppEnv, string, { in: { json: z.input<Schema> }; out: { json: z.output<Schema> } }>(
    async (c, next) => {
      if (!JSON_TYPE.test(c.req.header("Content-Type") ?? "")) {
        throw new AppError("UNSUPPORTED_MEDIA_TYPE", "The body must be application/json");
      }
      if (c.req.header("Content-Encoding")) {
        throw new AppError("UNSUPPORTED_MEDIA_TYPE", "The body must not be encoded: send it without Content-Encoding");
      }
      const body = parse(await readBytes(c.req.raw, MAX_BODY_BYTES));
      c.set("body", body);
      c.set(
        "traceId",
        traceIdOf((name) => c.req.header(name), body, c.var.traceId),
      );
      c.set(
        "requestId",
        optionalRequestId((name) => c.req.header(name), body),
      );
      const result = schema.safeParse(body);
      if (!result.success) throw shapeError(result.error, status);
      c.req.addValidatedData("json", result.data as object);
      return next();
    },
  );

/** The body's bytes. Refuses (413) more than `maxBytes`, whatever the headers declare. */
export async function readBytes(request: Request, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await readBounded(request, maxBytes);
  } catch (error) {
    throw error instanceof BodyTooLargeError ? new AppError("PAYLOAD_TOO_LARGE", error.message) : error;
  }
}

const DECODER = new TextDecoder("utf-8", { fatal: true, ignoreBOM: false });

function parse(bytes: Uint8Array): unknown {
  const malformed = (message: string, cause?: unknown) => new AppError("MALFORMED_JSON", message, { cause });
  let value: unknown;
  try {
    value = parseJson(DECODER.decode(bytes));
  } catch (error) {
    throw malformed("The body is not valid JSON", error);
  }
  if (!isWithinBounds(value))
    throw malformed(`The body is nested deeper than ${MAX_DEPTH} or has more than ${MAX_NODES} nodes`);
  return value;
}

/** Walks level by level, so that depth costs no stack. A list or object that stands alone is nested 1 deep. */
function isWithinBounds(value: unknown): boolean {
  const isContainer = (item: unknown): item is object => typeof item === "object" && item !== null;
  let level = [value].filter(isContainer);
  let nodes = 1;
  for (let depth = 1; level.length > 0; depth += 1) {
    if (depth > MAX_DEPTH) return false;
    const items = level.flatMap((item) => Object.values(item) as unknown[]);
    nodes += items.length;
    if (nodes > MAX_NODES) return false;
    level = items.filter(isContainer);
  }
  return true;
}

/** 422 (or 400) with the invalid fields. */
export const shapeError = (error: z.ZodError, status: 400 | 422): AppError =>
  new AppError("VALIDATION_ERROR", "The request is not valid", {
    status,
    details: {
      fields: error.issues.map((issue) => ({ field: issue.path.join("."), message: issue.message })),
    },
  });
