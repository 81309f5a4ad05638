/**
 * Text as it was meant: what is stored, what the model reads and what a channel sends. It is HTML-escaped only where it
 * becomes HTML; escaping on the way in would damage all three.
 */

/** C0 without \t and \n, DEL, C1; bidi embeddings, overrides and isolates, which can show a text other than it is. */
// oxlint-disable-next-line no-control-regex
const UNWANTED = /[\0-\x08\x0B-\x1F\x7F-\x9F\u202A-\u202E\u2066-\u2069]/g;

/** Invisible to people and readable by models: a known way to smuggle instructions. It costs three regional flags their colours. */
const TAG_BLOCK = /[\u{E0000}-\u{E007F}]/gu;

/** Nothing to clean: printable ASCII, which is most of what an adapter is made of. */
const PLAIN = /^[\t\n\x20-\x7E]*$/;

/**
 * Well-formed (a lone surrogate becomes U+FFFD) Unicode NFC with \n line ends, without control characters but \n and \t,
 * without bidi controls and tag characters. Cleaning twice is cleaning once. Postgres takes the result in `text` and `jsonb`.
 */
export const cleanText = (text: string): string =>
  PLAIN.test(text)
    ? text
    : text
        .toWellFormed()
        .replace(/\r\n?|[\u2028\u2029]/g, "\n")
        .replace(UNWANTED, "")
        .replace(TAG_BLOCK, "")
        .normalize("NFC");

declare const escaped: unique symbol;

/** Text that is ready to stand in HTML, between tags or in a quoted attribute. */
export type HtmlEscaped = string & { readonly [escaped]: true };

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Escapes & < > " '. What is escaped already does not compile: `&amp;amp;` is how a second time would look. */
export const escapeHtml = (text: string & { readonly [escaped]?: never }): HtmlEscaped =>
  text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character) as HtmlEscaped;

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/** The index, in UTF-16 units, at which `count` code points of a text have gone by; its length when it has fewer. */
function indexAfter(text: string, count: number): number {
  let index = 0;
  for (let left = count; left > 0 && index < text.length; left -= 1) {
    index += isHigh(text.charCodeAt(index)) && isLow(text.charCodeAt(index + 1)) ? 2 : 1;
  }
  return index;
}

/** How many code points a text has: what people and JSON Schema call its length. */
export function codePoints(text: string): number {
  let count = text.length;
  for (let index = 1; index < text.length; index += 1) {
    if (isLow(text.charCodeAt(index)) && isHigh(text.charCodeAt(index - 1))) count -= 1;
  }
  return count;
}

/** A cluster longer than this (UTF-16 units) is no letter any more ("zalgo"); it is cut like anything else. */
const MAX_GRAPHEME = 64;

/**
 * The text's beginning, at most `maxCodePoints` long. The cut is made before a grapheme rather than inside: a family
 * emoji is kept or left out, never turned into one of its members.
 */
export function truncate(text: string, maxCodePoints: number): string {
  if (text.length <= maxCodePoints) return text;
  const end = indexAfter(text, maxCodePoints);
  if (end === text.length) return text;
  const boundary = new Intl.Segmenter("en").segment(text).containing(end)?.index ?? end;
  return text.slice(0, end - boundary > MAX_GRAPHEME ? end : boundary);
}
