export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type JsonObject = { [key: string]: Json };

/** UTF-8 bytes of a text. */
export const byteLength = (text: string): number => ENCODER.encode(text).length;

/** A JSON object: no list, no Date, no Map. */
export const isRecord = (value: unknown): value is Record<string, unknown> =>
  Object.prototype.toString.call(value) === "[object Object]";

const ENCODER = new TextEncoder();
