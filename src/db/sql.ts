import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";

/** Epoch milliseconds as Postgres reads a moment. */
export const iso = (ms: number): string => new Date(ms).toISOString();

/** Any number of ids as one parameter, for `in (...)`. */
export const ids = (values: readonly string[]): SQL =>
  sql`select value::uuid from jsonb_array_elements_text(${JSON.stringify(values)}::jsonb)`;
