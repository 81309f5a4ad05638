import { invalid } from "./errors.ts";
import { cleanText, codePoints, escapeHtml, truncate } from "./text.ts";
import type { Json, JsonObject } from "./json.ts";
import { byteLength, InexactNumber, isRecord } from "./json.ts";
import { isSensitiveKey } from "./sensitive.ts";

export type SanitizeOptions = {
  /** Escape strings for HTML. Off for stored and sent text and for models: see `text.ts`. */
  html?: boolean;
  /** Code points of a string, counted before it is escaped. */
  maxString?: number;
  /** Entries of an object. */
  maxItems?: number;
  maxList?: number;
  /** Values nested deeper become null. */
  maxDepth?: number;
  /** Clean the keys like the strings: Postgres refuses a NUL in either. */
  keys?: boolean;
  /** Paths (`form.token`) of text that is no secret although its key is sensitive. */
  allowed?: readonly string[];
  /** Called with the path and the change for all that is left out or changed. */
  onChange?: OnChange;
};

/** The path holds keys and indexes from the value's root. */
type OnChange = (path: readonly (string | number)[], change: string) => void;

export const DEFAULTS = { html: false, maxString: 10_000, maxItems: 100, maxList: 100, maxDepth: 32, keys: true };
const MAX_KEY_LENGTH = 256;

/** Cleaned, trimmed, at most `maxString` code points; with `html` escaped after that, so that no entity is cut in two. */
export function sanitizeString(text: string, { html, maxString }: SanitizeOptions = {}): string {
  const clean = truncate(cleanText(text).trim(), maxString ?? DEFAULTS.maxString).trim();
  return html === true ? escapeHtml(clean) : clean;
}

export type Walk = {
  text: (text: string) => string;
  key: (key: string) => string;
  /** Whether the value of a sensitive key is a secret. */
  isSecret: (value: unknown) => boolean;
  /** Replaces a secret; undefined removes its entry. */
  secret: Json | undefined;
  maxItems: number;
  maxList: number;
  maxDepth: number;
  allowed?: readonly string[] | undefined;
  onChange?: OnChange | undefined;
};

/** The objects around a value, which bound the depth and break circles, and the keys that lead to it. */
type Position = { above: unknown[]; path: (string | number)[] };

/** Copies a value as plain JSON by the rules. */
export const walk = (value: unknown, rules: Walk): Json => visit(value, rules, { above: [], path: [] });

function visit(value: unknown, rules: Walk, position: Position): Json {
  if (typeof value === "string") return visitText(value, rules, position);
  if (typeof value === "boolean") return value;
  if (typeof value === "number") return Number.isFinite(value) ? value : null;
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "object" || value === null) return null;
  if (value instanceof InexactNumber) return value.source;
  const { above, path } = position;
  if (above.length >= rules.maxDepth || above.includes(value)) {
    rules.onChange?.(path, `nested deeper than ${rules.maxDepth}, replaced by null`);
    return null;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  above.push(value);
  const copy = Array.isArray(value) ? visitList(value, rules, position) : visitEntries(value, rules, position);
  above.pop();
  return copy;
}

function visitText(text: string, rules: Walk, { path }: Position): string {
  const kept = rules.text(text);
  if (rules.onChange !== undefined && kept !== text && kept !== text.trim()) {
    const left = codePoints(cleanText(text).trim()) - codePoints(kept);
    rules.onChange(path, left > 0 ? `${left} characters left out` : "characters replaced or removed");
  }
  return kept;
}

function visitList(list: readonly unknown[], rules: Walk, position: Position): Json[] {
  const left = list.length - rules.maxList;
  if (left > 0) rules.onChange?.(position.path, `${left} items left out`);
  return list.slice(0, rules.maxList).map((item, index) => visitAt(index, item, rules, position));
}

function visitEntries(value: object, rules: Walk, position: Position): JsonObject {
  const copy: JsonObject = {};
  let count = 0;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  const change = (key: string, what: string) => rules.onChange?.([...position.path, key], what);
  for (const [index, [name, item]] of entries.entries()) {
    if (count >= rules.maxItems) {
      rules.onChange?.(position.path, `${entries.length - index} entries left out`);
      break;
    }
    const key = rules.key(name);
    // Assigning to this key would set the copy's prototype.
    if (key === "__proto__") {
      change(key, "removed");
      continue;
    }
    // The whole key and the cut one are both judged.
    const isSensitive = rules.isSecret(item) && (isSensitiveKey(name) || isSensitiveKey(key));
    const isSecret = isSensitive && !rules.allowed?.includes([...position.path, key].join("."));
    if (isSecret && rules.secret === undefined) {
      change(key, "removed");
      continue;
    }
    if (Object.hasOwn(copy, key)) change(key, "given twice, the last one kept");
    else if (key !== name.trim()) change(key, "key changed");
    copy[key] = isSecret ? (rules.secret ?? null) : visitAt(key, item, rules, position);
    count += 1;
  }
  return copy;
}

function visitAt(key: string | number, value: unknown, rules: Walk, position: Position): Json {
  position.path.push(key);
  const copy = visit(value, rules, position);
  position.path.pop();
  return copy;
}

/** Only text is a secret: `{password: true}` and `{token: 12}` are kept. */
const isSecretText = (value: unknown): boolean =>
  typeof value === "string" || (Array.isArray(value) && value.some((item) => typeof item === "string"));

/**
 * A copy as plain JSON: strings cleaned, trimmed and limited, secrets (text under a sensitive key) and `__proto__` removed
 * at every depth, objects and lists cut after their first `maxItems` and `maxList` entries. Values that JSON can't express
 * become null.
 */
export function sanitizeData(value: Record<string, unknown>, options?: SanitizeOptions): JsonObject;
export function sanitizeData(value: unknown, options?: SanitizeOptions): Json;
export function sanitizeData(value: unknown, options: SanitizeOptions = {}): Json {
  const { keys, ...limits } = { ...DEFAULTS, ...options };
  const text = (string: string) => sanitizeString(string, limits);
  const key = (name: string) => (keys ? sanitizeString(name, { html: limits.html, maxString: MAX_KEY_LENGTH }) : name);
  return walk(value, { ...limits, text, key, isSecret: isSecretText, secret: undefined });
}

/** The maximum size of a message's metadata: bytes of its JSON in UTF-8. */
export const MAX_METADATA_BYTES = 65_536;

/**
 * The metadata if its JSON takes at most `maxBytes`; otherwise a copy with those of its entries, in order, that fit.
 * Refuses (400) a value that is not an object, or that JSON can't hold (a circle, a bigint).
 */
export function fitMetadata(
  metadata: unknown,
  maxBytes: number = MAX_METADATA_BYTES,
): { value: Record<string, unknown>; truncated: boolean } {
  if (!isRecord(metadata)) throw invalid("metadata", "metadata is not a JSON object");
  let left = maxBytes - "{}".length;
  try {
    // A UTF-16 unit takes at most three bytes, so most metadata fits without being counted.
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
