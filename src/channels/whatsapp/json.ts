import { cleanText } from "../../domain/text.ts";
import { isRecord } from "../../domain/json.ts";

/** Looking into JSON of another company, which may have grown a new shape since yesterday: nothing here refuses. */
export type Json = Record<string, unknown>;

/** The object, or one without anything in it. */
export const record = (value: unknown): Json => (isRecord(value) ? value : {});

/** The objects of a list; what is no list has none, and what is no object is left out. */
export const records = (value: unknown): Json[] => (Array.isArray(value) ? value.filter(isRecord) : []);

/** Text with something in it, or a number as text; else null. */
export function text(value: unknown): string | null {
  const string = typeof value === "number" && Number.isFinite(value) ? String(value) : value;
  const clean = typeof string === "string" ? cleanText(string).trim() : "";
  return clean === "" ? null : clean;
}

export const number = (value: unknown): number | null =>
  typeof value === "number" && Number.isFinite(value) ? value : null;
