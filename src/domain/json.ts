export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type JsonObject = { [key: string]: Json };

const ENCODER = new TextEncoder();

/** UTF-8 bytes of a text. */
export const byteLength = (text: string): number => ENCODER.encode(text).length;

/** A JSON object: no list, no Date, no Map. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  Object.prototype.toString.call(value) === "[object Object]";

/** A number that a double can't hold as it is written. */
export class InexactNumber {
  /** As it is written in the JSON text. */
  readonly source: string;

  constructor(source: string) {
    this.source = source;
  }

  /** Not a record. */
  get [Symbol.toStringTag](): string {
    return "InexactNumber";
  }
}

/** Texts without 16 digits in a row and without a three-digit exponent hold no inexact number. */
const MAYBE_INEXACT = /[\d.]{16}|e[+-]?\d{3}/i;

type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown;

/**
 * Parses JSON. `onInexact` replaces each number that a double can't hold as it is written (an integer beyond 2^53, 1e400).
 * Throws a SyntaxError for a text that is not JSON.
 */
export function parseJson(
  text: string,
  onInexact: (source: string) => unknown = (source) => new InexactNumber(source),
): unknown {
  if (!MAYBE_INEXACT.test(text)) return JSON.parse(text);
  const revive: Reviver = (_key, value, { source }) =>
    typeof value === "number" && source !== undefined && !isExact(source, value) ? onInexact(source) : value;
  return JSON.parse(text, revive as Parameters<typeof JSON.parse>[1]);
}

/** The path of the first inexact number in a value; null when it has none. */
export function inexactPath(value: unknown): string[] | null {
  if (value instanceof InexactNumber) return [];
  if (typeof value !== "object" || value === null) return null;
  for (const [key, item] of Object.entries(value)) {
    const path = inexactPath(item);
    if (path !== null) return [key, ...path];
  }
  return null;
}

/** Whether a number is written again with the decimal value of its source text. */
const isExact = (source: string, value: number): boolean =>
  Number.isFinite(value) && decimal(source) === decimal(String(value));

/** The significant digits and the exponent of a decimal number: "-1.50e3" is "-15e2". */
function decimal(text: string): string {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] =
    /^([+-]?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const digits = `${whole}${fraction}`.replace(/^0+/, "");
  const significant = digits.replace(/0+$/, "");
  if (significant === "") return "0";
  return `${sign}${significant}e${Number(exponent) - fraction.length + digits.length - significant.length}`;
}
