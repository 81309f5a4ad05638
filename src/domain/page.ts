import { z } from "zod";
import { Uuid } from "./ids.ts";

const DEFAULT_LIMIT = 20;
/** A larger limit is taken for this one. */
export const MAX_LIMIT = 100;
/** Beyond this a page number is no way to read; a cursor is one, at any depth. */
const MAX_PAGE = 1_000_000;

/**
 * A keyset cursor: the sort key of the last row of a page, opaque to clients. Whatever is written meanwhile, the next page
 * begins right after that row, and costs what the first one cost. `at` is epoch milliseconds; `tie` decides within one.
 */
export type Cursor<Tie extends string | number = number> = { at: number; tie: Tie };

/** Base64url, which needs no escaping in a query. */
export const encodeCursor = ({ at, tie }: Cursor<string | number>): string =>
  btoa(JSON.stringify([at, tie]))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replace(/=+$/, "");

function decodeCursor(text: string): unknown {
  try {
    return JSON.parse(atob(text.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    // Not one of ours, which the schema says in its own words.
    return null;
  }
}

/** The largest instant a Date can hold: beyond it a cursor is not one of ours. */
const MAX_INSTANT = 8_640_000_000_000_000;

const cursor = <Tie extends z.ZodType<string | number>>(tie: Tie) => {
  const Key = z.tuple([z.int().min(0).max(MAX_INSTANT), tie]);
  return z
    .string()
    .transform((text, context): Cursor<z.output<Tie>> => {
      const key = Key.safeParse(decodeCursor(text));
      const [at, tie] = (key.data ?? []) as [number, z.output<Tie>];
      if (key.success) return { at, tie };
      // In one piece: what a cursor is made of is nobody's business.
      context.addIssue({ code: "custom", message: "is not a cursor of this list" });
      return z.NEVER;
    })
    .meta({ type: "string", description: "`next_cursor` of the page before" });
};

export const limit = z.coerce
  .number("must be a whole number")
  .int("must be a whole number")
  .min(1, "must be at least 1")
  .default(DEFAULT_LIMIT)
  .transform((value) => Math.min(value, MAX_LIMIT))
  .meta({ type: "integer", minimum: 1, default: DEFAULT_LIMIT, description: `more than ${MAX_LIMIT} is ${MAX_LIMIT}` });

const page = z.coerce
  .number("must be a whole number")
  .int("must be a whole number")
  .min(1, "must be at least 1")
  .max(MAX_PAGE, `must be at most ${MAX_PAGE}: use before`)
  .optional()
  .meta({ type: "integer", minimum: 1, maximum: MAX_PAGE, description: "the first by default; not with `before`" });

/** Which part of a list is wanted: by cursor, or by number. */
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

/** A part of a list that is read forward: what came first, first. */
export const UsagePageQuery = z.object({
  limit,
  after: cursor(Uuid).optional(),
  template_key: z.string().max(256).optional().meta({ description: "Of one template only" }),
});
export type UsagePage = z.output<typeof UsagePageQuery>;

/** What a client is told of the part it got. */
export const Pagination = z
  .object({
    limit: z.int(),
    page: z.int().nullable().meta({ description: "null when a cursor was given" }),
    has_more: z.boolean(),
    next_cursor: z.string().nullable(),
  })
  .meta({ id: "Pagination" });
export type Pagination = z.infer<typeof Pagination>;
