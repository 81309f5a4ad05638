import { z } from "zod";
import { Uuid } from "./ids.ts";

const DEFAULT_LIMIT = 20;
/** Larger limits are reduced to this one. */
export const MAX_LIMIT = 100;
/** Larger page numbers are refused, since an offset reads every row before it; a cursor works at any depth. */
const MAX_PAGE = 1_000_000;

/**
 * A keyset cursor: the sort key of a page's last row, opaque to clients. Rows written meanwhile don't shift the next
 * page, and every page costs the same. `at` is epoch milliseconds; `tie` orders rows of one millisecond.
 */
export type Cursor<Tie extends string | number = number> = { at: number; tie: Tie };

/** Encoded as base64url, which needs no escaping in a query string. */
export const encodeCursor = ({ at, tie }: Cursor<string | number>): string =>
  btoa(JSON.stringify([at, tie]))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");

function decodeCursor(text: string): unknown {
  try {
    return JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    // Not a cursor: the schema reports it.
    return null;
  }
}

/** The farthest time from 1970 a Date can hold, in either direction. */
const MAX_INSTANT = 8_640_000_000_000_000;

const cursor = <Tie extends z.ZodType<string | number>>(tie: Tie) => {
  const Key = z.tuple([z.int().min(-MAX_INSTANT).max(MAX_INSTANT), tie]);
  return z
    .string()
    .transform((text, context): Cursor<z.output<Tie>> => {
      const key = Key.safeParse(decodeCursor(text));
      const [at, tie] = (key.data ?? []) as [number, z.output<Tie>];
      if (key.success) return { at, tie };
      // One issue for the whole cursor: its parts are opaque to clients.
      context.addIssue({ code: "custom", message: "is not a cursor of this list" });
      return z.NEVER;
    })
    .meta({ type: "string", description: "`next_cursor` of the previous page" });
};

export const limit = z.coerce
  .number("must be a whole number")
  .int("must be a whole number")
  .min(1, "must be at least 1")
  .default(DEFAULT_LIMIT)
  .transform((value) => Math.min(value, MAX_LIMIT))
  .meta({ type: "integer", minimum: 1, default: DEFAULT_LIMIT, description: `Capped at ${MAX_LIMIT}` });

const page = z.coerce
  .number("must be a whole number")
  .int("must be a whole number")
  .min(1, "must be at least 1")
  .max(MAX_PAGE, `must be at most ${MAX_PAGE}: use before`)
  .optional()
  .meta({ type: "integer", minimum: 1, maximum: MAX_PAGE, description: "1 by default; not with `before`" });

/** Query of a page, by cursor or by number. */
const pageQuery = <Tie extends z.ZodType<string | number>>(tie: Tie) =>
  z
    .object({ limit, page, before: cursor(tie).optional() })
    .refine((query) => query.page === undefined || query.before === undefined, {
      path: ["page"],
      message: "can't be given with before",
    });

export const MessagePageQuery = pageQuery(z.int().min(0));
export type MessagePage = z.output<typeof MessagePageQuery>;

export const SessionPageQuery = pageQuery(Uuid);
export type SessionPage = z.output<typeof SessionPageQuery>;

/** Query of a page of a list in ascending order. */
export const UsagePageQuery = z.object({
  limit,
  after: cursor(Uuid).optional(),
  template_key: z.string().max(256).optional().meta({ description: "Usage of this template only" }),
});
export type UsagePage = z.output<typeof UsagePageQuery>;

/** Position of a page in its list. */
export const Pagination = z
  .object({
    limit: z.int(),
    page: z.int().nullable().meta({ description: "null when a cursor was given" }),
    has_more: z.boolean(),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: "Pagination" });
export type Pagination = z.infer<typeof Pagination>;
