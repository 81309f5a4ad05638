import { cleanText } from "../../domain/text.ts";
import { isRecord } from "../../domain/json.ts";

/** Lenient readers for Meta's JSON, which changes without notice: none of them throws. */
export type Json = Record<string, unknown>;

/** The object; an empty one for any other value. */
export const record = (value: unknown): Json => (isRecord(value) ? value : {});

/** The objects of a list, other items left out; empty when the value is not a list. */
export const records = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isRecord) : []);

/** Cleaned text that is not empty, or a finite number as text; else null. */
export function text(value: unknown): string | null {
  const string = typeof value === "number" && Number.isFinite(value) ? String(value) : value;
  const clean = typeof string === "string" ? cleanText(string).trim() : "";
  return clean === "" ? null : clean;
}

export const number = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) ? value : null;
