import { invalid } from "./errors.ts";
import { cleanText, escapeHtml, truncate } from "./text.ts";
import type { Json, JsonObject } from "./json.ts";
import { byteLength, isRecord } from "./json.ts";

export type SanitizeOptions = {
  /** Escape strings for HTML. Off for what is stored, sent or read by a model: see `text.ts`. */
  html?: boolean;
  /** Code points of a string, counted before it is escaped. */
  maxString?: number;
  /** Entries of an object. */
  maxItems?: number;
  maxList?: number;
  /** What lies deeper becomes null. */
  maxDepth?: number;
  /** Clean the keys like the strings: Postgres refuses a NUL in either. */
  keys?: boolean;
};

export const DEFAULTS = { html: false, maxString: 10_000, maxItems: 100, maxList: 100, maxDepth: 32, keys: true };
const MAX_KEY_LENGTH = 256;

/** What assigning would reach instead of a property. */
const PROTOTYPE_KEYS = new Set(["__proto__", "constructor", "prototype"]);

/**
 * On the key in snake case. A token is one when the name ends in it: `access_token`, `guestToken`, but not `token_plan`,
 * `token_usage`, `max_tokens` or `budget_tokens`, which count.
 */
const SENSITIVE_KEY = new RegExp(
  [
    "password|passwd|passphrase",
    "(^|_)pwd(_|$)",
    "secret$|(^|_)secrets?(_|$)",
    "token$|(^|_)(access|refresh|auth|id|bearer)_?tokens$",
    "authorization$",
    "(^|_)(set_?)?cookies?$",
    "(^|_)(jwt|ssn|credentials?)(_|$)",
    "(api|private|secret|signing|encryption)_?keys?(_|$)",
    "credit_?card|card_?number|(^|_)(cvv2?|cvc2?)(_|$)",
  ].join("|"),
);

/** True for a key whose value is a secret: `password`, `apiKey`, `X-Api-Key`, `refresh_token`, `cvv` and their like. */
export const isSensitiveKey = (key: string): boolean => SENSITIVE_KEY.test(/^[a-z_]*$/.test(key) ? key : words(key));

/** A key in snake case, whatever it was written in. */
const words = (key: string): string =>
  key
    .normalize("NFKC")
    .replace(/\p{Cf}/gu, "")
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/[^A-Za-z0-9]+/g, "_")
    .toLowerCase();

/** Cleaned, trimmed, at most `maxString` code points; with `html` escaped after that, so that no entity is cut in two. */
export function sanitizeString(text: string, { html, maxString }: SanitizeOptions = {}): string {
  const clean = truncate(cleanText(text).trim(), maxString ?? DEFAULTS.maxString).trim();
  return html === true ? escapeHtml(clean) : clean;
}

export type Walk = {
  text: (text: string) => string;
  key: (key: string) => string;
  /** What stands for the value of a sensitive key; undefined removes the entry. */
  secret: Json | undefined;
  maxItems: number;
  maxList: number;
  maxDepth: number;
};

/** `above` holds the objects around the value: it bounds the depth and breaks circles. */
export function walk(value: unknown, rules: Walk, above: unknown[]): Json {
  if (typeof value === "string") return rules.text(value);
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return null;
  if (above.length >= rules.maxDepth || above.includes(value)) return null;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  above.push(value);
  const copy = Array.isArray(value)
    ? value.slice(0, rules.maxList).map((item) => walk(item, rules, above))
    : walkEntries(value, rules, above);
  above.pop();
  return copy;
}

function walkEntries(value: object, rules: Walk, above: unknown[]): JsonObject {
  const copy: JsonObject = {};
  let count = 0;
  for (const [name, item] of Object.entries(value)) {
    if (count >= rules.maxItems) break;
    if (item === undefined) continue;
    const key = rules.key(name);
    const found = kindOfKey(name);
    // A name that was cut is another one.
    const kind = found === "plain" && key !== name ? kindOfKey(key) : found;
    if (kind === "prototype" || (kind === "secret" && rules.secret === undefined)) continue;
    copy[key] = kind === "secret" ? (rules.secret ?? null) : walk(item, rules, above);
    count += 1;
  }
  return copy;
}

type KeyKind = "plain" | "secret" | "prototype";

/** Keys come back all the time: what was found out of one is remembered, for as many as any honest use has. */
const keyKinds = new Map<string, KeyKind>();
const REMEMBERED_KEYS = 2_000;

function kindOfKey(name: string): KeyKind {
  const known = keyKinds.get(name);
  if (known !== undefined) return known;
  const clean = cleanText(name).trim();
  const kind = PROTOTYPE_KEYS.has(clean) ? "prototype" : isSensitiveKey(clean) ? "secret" : "plain";
  if (keyKinds.size < REMEMBERED_KEYS && name.length <= MAX_KEY_LENGTH) keyKinds.set(name, kind);
  return kind;
}

/**
 * A copy as plain JSON: strings cleaned, trimmed and limited, sensitive and prototype keys gone at every depth, objects
 * and lists cut after their first `maxItems` and `maxList` entries. What JSON has no word for becomes null.
 * The default form is the text as it was meant; `html: true` gives the same, safe to stand in HTML.
 */
export function sanitizeData(value: Record<string, unknown>, options?: SanitizeOptions): JsonObject;
export function sanitizeData(value: unknown, options?: SanitizeOptions): Json;
export function sanitizeData(value: unknown, options: SanitizeOptions = {}): Json {
  const { keys, ...limits } = { ...DEFAULTS, ...options };
  const text = (string: string) => sanitizeString(string, limits);
  const key = (name: string) => (keys ? sanitizeString(name, { html: limits.html, maxString: MAX_KEY_LENGTH }) : name);
  return walk(value, { ...limits, text, key, secret: undefined }, []);
}

/** The most a message's metadata may take: bytes of its JSON in UTF-8. */
export const MAX_METADATA_BYTES = 65_536;

/**
 * The metadata if its JSON takes at most `maxBytes`; otherwise a copy with those of its entries, in order, that fit.
 * Refuses (400) what is no object and what JSON can't hold (a circle, a bigint).
 */
export function fitMetadata(
  metadata: unknown,
  maxBytes: number = MAX_METADATA_BYTES,
): { value: Record<string, unknown>; truncated: boolean } {
  if (!isRecord(metadata)) throw invalid("metadata", "metadata is not a JSON object");
  let left = maxBytes - "{}".length;
  try {
    // A UTF-16 unit is three bytes at most: most metadata fits whatever is in it.
    if (JSON.stringify(metadata).length * 3 <= maxBytes) return { value: metadata, truncated: false };
    const entries = Object.entries(metadata).filter(([key, item]) => {
      const size = byteLength(JSON.stringify({ [key]: item })) - "{}".length + ",".length;
      // The last entry has no comma after it.
      if (size - 1 > left) return false;
      left -= size;
      return true;
    });
    const truncated = entries.length < Object.keys(metadata).length;
    return { value: truncated ? Object.fromEntries(entries) : metadata, truncated };
  } catch {
    throw invalid("metadata", "metadata can't be written as JSON");
  }
}
