import { cleanText } from "./text.ts";
import type { Json } from "./json.ts";
import { DEFAULTS, sanitizeString, walk } from "./sanitize.ts";

export const REDACTED = "[redacted]";

/** Quantifiers that could backtrack are bounded, so that redaction is linear in the length of the line. */
const MASKS: readonly [RegExp, string][] = [
  [/\beyJ[\w-]{8,}(?:\.[\w-]*)*/g, REDACTED],
  [/\bBearer\s{1,8}[\w.~+/=-]+/gi, `Bearer ${REDACTED}`],
  [/\bparley_[\w-]+/g, REDACTED],
  [/\b(?:sk|pk|rk|whsec)[-_][\w-]{8,}|\bEAA[A-Za-z0-9]{20,}/g, REDACTED],
  [/:\/\/[^\s/@:]{0,128}:[^\s/@]{1,256}@/g, `://${REDACTED}@`],
  [/\b(\w{0,32}(?:password|passwd|secret|token|api_?key)["']?\s{0,4}[:=]\s{0,4}["']?)[^\s&;,"']+/gi, `$1${REDACTED}`],
  [/[\p{L}\p{N}.'_%+-]{1,64}@[\p{L}\p{N}-]{1,63}(?:\.[\p{L}\p{N}-]{1,63})+/gu, "[email]"],
  [/\+[1-9](?:[ ().-]{0,3}\d){6,}/g, "[phone]"],
];

/** A string without any of these matches no mask: the cheap test for most strings. */
const MASKABLE = /eyJ|bearer|parley_|(?:sk|pk|rk|whsec)[-_]|EAA|:\/\/|passw|secret|token|key|@|\+/i;

/** Masks tokens, keys, passwords, e-mail addresses and international phone numbers. */
export function redactString(text: string): string {
  const clean = cleanText(text);
  if (!MASKABLE.test(clean)) return clean;
  return MASKS.reduce((masked, [pattern, replacement]) => masked.replace(pattern, replacement), clean);
}

/**
 * A copy for the log: the values of sensitive keys are "[redacted]" unless they are booleans, secrets and personal data
 * inside strings are masked, HTML is escaped (logs are read in browsers). Limits as in `sanitizeData`.
 */
export function redact(value: unknown): Json {
  const text = (string: string): string => sanitizeString(redactString(string), { html: true });
  const isSecret = (item: unknown): boolean => typeof item !== "boolean";
  return walk(value, { ...DEFAULTS, text, key: text, isSecret, secret: REDACTED });
}
