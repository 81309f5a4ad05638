import { InexactNumber, isRecord } from "../../domain/json.ts";
import { cleanContent } from "../../domain/text.ts";

/** Lenient readers for Meta's JSON, which changes without notice: none of them throws. */
export type Json = Record<string, unknown>;

/** The object; an empty one for any other value. */
export const record = (value: unknown): Json => (isRecord(value) ? value : {});

/** The objects of a list, other items left out; empty when the value is not a list. */
export const records = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isRecord) : []);

/** Cleaned text that shows something, or a finite number as text; else null. */
export function text(value: unknown): string | null {
  const string = typeof value === "number" && Number.isFinite(value) ? String(value) : value;
  const clean = typeof string === "string" ? cleanContent(string) : "";
  return clean === "" ? null : clean;
}

/** A finite number, rounded to a double where it is written with more digits; else null. */
export function number(value: unknown): number | null {
  const double = value instanceof InexactNumber ? Number(value.source) : value;
  return typeof double === "number" && Number.isFinite(double) ? double : null;
}
