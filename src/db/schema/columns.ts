import { sql } from "drizzle-orm";
import { check, customType, jsonb, uuid } from "drizzle-orm/pg-core";
import type { AnyPgColumn } from "drizzle-orm/pg-core";

/** Column types of all tables. */
export const id = () => uuid("id").primaryKey().defaultRandom();
/** A `timestamptz` in milliseconds, read and written as epoch milliseconds. */
export const moment = customType<{ data: number; driverData: string }>({
  dataType: () => "timestamp (3) with time zone",
  fromDriver: (text) => Date.parse(text),
  toDriver: (ms) => new Date(ms).toISOString(),
});
export const createdAt = () =>
  moment("created_at")
    .notNull()
    .default(sql`now()`);
export const updatedAt = () =>
  moment("updated_at")
    .notNull()
    .default(sql`now()`);

export const jsonObject = (name: string) => jsonb(name).$type<Record<string, unknown>>().notNull().default({});
export const jsonArray = <Item = unknown>(name: string) => jsonb(name).$type<Item[]>().notNull().default([]);

/** `jsonb` accepts any JSON; these CHECKs require an object or a list. */
export const isObject = (name: string, column: AnyPgColumn) => check(name, sql`jsonb_typeof(${column}) = 'object'`);
export const isArray = (name: string, column: AnyPgColumn) => check(name, sql`jsonb_typeof(${column}) = 'array'`);

/** A CHECK that a text column holds a value of a closed list of the domain, written into the migration as literals. */
export const isOneOf = (name: string, column: AnyPgColumn, values: readonly string[]) =>
  check(name, sql`${column} in (${sql.raw(values.map((value) => `'${value}'`).join(", "))})`);
