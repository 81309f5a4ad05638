import { sql } from "drizzle-orm";
import { jsonb, timestamp, uuid, check } from "drizzle-orm/pg-core";
import type { AnyPgColumn } from "drizzle-orm/pg-core";

/** Column shapes every table shares. Timestamps are epoch-precise `timestamptz`, read as ISO strings by the HTTP driver. */
export const id = () => uuid("id").primaryKey().defaultRandom();
export const moment = (name: string) => timestamp(name, { withTimezone: true, mode: "date", precision: 3 });
export const createdAt = () => moment("created_at").notNull().defaultNow();
export const updatedAt = () => moment("updated_at").notNull().defaultNow();

export const jsonObject = (name: string) => jsonb(name).$type<Record<string, unknown>>().notNull().default({});
export const jsonArray = (name: string) => jsonb(name).$type<unknown[]>().notNull().default([]);

/** `jsonb` takes any JSON; these keep an object an object and a list a list. */
export const isObject = (name: string, column: AnyPgColumn) => check(name, sql`jsonb_typeof(${column}) = 'object'`);
export const isArray = (name: string, column: AnyPgColumn) => check(name, sql`jsonb_typeof(${column}) = 'array'`);

/** A CHECK that a text column holds one of a closed list: the list is the domain's, written into the migration as literals. */
export const isOneOf = (name: string, column: AnyPgColumn, values: readonly string[]) =>
  check(name, sql`${column} in (${sql.raw(values.map((value) => `'${value}'`).join(", "))})`);
