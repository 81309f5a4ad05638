import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";

/** Epoch milliseconds as ISO 8601, which Postgres casts to `timestamptz`. */
export const iso = (ms: number): string => new Date(ms).toISOString();

/** A list of ids as one parameter, for `in (...)`. */
export const ids = (values: readonly string[]): SQL =>
  sql`select value::uuid from jsonb_array_elements_text(${JSON.stringify(values)}::jsonb)`;

/** Records as one `jsonb` parameter, for `jsonb_to_recordset`. Refused by Postgres when they hold NUL. */
export const rows = (values: readonly unknown[]): SQL => sql`${JSON.stringify(values)}::jsonb`;

/** The same with NUL and lone surrogates replaced by U+FFFD: JSON has them, `jsonb` refuses them. */
export const storable = (value: unknown): SQL =>
  sql`${JSON.stringify(value).replaceAll(/\\u(?:0000|d[89a-f][0-9a-f]{2})/g, "\\ufffd")}::jsonb`;
