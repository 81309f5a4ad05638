/**
 * Text is stored, sent and given to the model as it was meant. It is HTML-escaped only where it becomes HTML: escaping on
 * input would corrupt the other uses.
 */

/** Printable ASCII needs no cleaning. Most strings of an adapter match. */
const PLAIN = /^[\t\n\x20-\x7E]*$/;

/** CR, CRLF, VT, FF, NEL, LINE SEPARATOR and PARAGRAPH SEPARATOR. */
const LINE_BREAKS = /\r\n?|[\v\f\x85\u2028\u2029]/g;

/** Bidi embeddings, overrides and isolates, which can display a text other than the one it holds. */
const BIDI_CONTROLS = /[\u202A-\u202E\u2066-\u2069]/g;

/**
 * Tag characters are invisible to people and readable by models: a known way to smuggle instructions. The three flags that
 * Unicode recommends (RGI: England, Scotland, Wales) are written with them and stay.
 */
const TAGS =
  /(\u{1F3F4}\u{E0067}\u{E0062}(?:\u{E0065}\u{E006E}\u{E0067}|\u{E0073}\u{E0063}\u{E0074}|\u{E0077}\u{E006C}\u{E0073})\u{E007F})|[\u{E0000}-\u{E007F}]+/gu;

/** C0 and C1 without \t, \n and the line breaks above. */
// oxlint-disable-next-line no-control-regex
const CONTROLS = /[\0-\x08\x0E-\x1F\x7F-\x84\x86-\x9F]+/g;

/**
 * Well-formed Unicode (a lone surrogate becomes U+FFFD) in NFC with \n line breaks and no other control character but \t,
 * no bidi control and no tag character. Idempotent. Postgres accepts the result in `text` and `jsonb`.
 */
export const cleanText = (text: string): string =>
  PLAIN.test(text)
    ? text
    : text
        .toWellFormed()
        .replace(LINE_BREAKS, "\n")
        .replace(BIDI_CONTROLS, "")
        .replace(TAGS, "$1")
        .replace(CONTROLS, separator)
        .normalize("NFC");

/** A control character ends a word (UAX #29): a space stands for it unless white space, a mark or the text's end does. */
const separator = (controls: string, index: number, text: string): string =>
  /\S$/.test(text.slice(Math.max(0, index - 1), index)) &&
  /^[^\s\p{M}]/u.test(text.slice(index + controls.length, index + controls.length + 2))
    ? " "
    : "";

/**
 * Whether a text shows nothing: White_Space and Default_Ignorable code points only (which include the Hangul fillers
 * U+115F, U+1160, U+3164 and U+FFA0), and the blank Braille pattern U+2800.
 */
export const isInvisible = (text: string): boolean =>
  /^[\p{White_Space}\p{Default_Ignorable_Code_Point}\u2800]*$/u.test(text);

/** A cleaned text without the white space around it; "" for an invisible one. */
export function cleanContent(text: string): string {
  const clean = cleanText(text).trim();
  return isInvisible(clean) ? "" : clean;
}

declare const escaped: unique symbol;

/** Text that is safe in HTML, between tags or in a quoted attribute. */
export type HtmlEscaped = string & { readonly [escaped]: true };

const ENTITIES: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Escapes & < > " '. Escaped text is refused by the type, since escaping twice gives `&amp;amp;`. */
export const escapeHtml = (text: string & { readonly [escaped]?: never }): HtmlEscaped =>
  text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character) as HtmlEscaped;

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/** The index in UTF-16 units after the first `count` code points; the text's length when it has fewer. */
function indexAfter(text: string, count: number): number {
  let index = 0;
  for (let left = count; left > 0 && index < text.length; left -= 1) {
    index += isHigh(text.charCodeAt(index)) && isLow(text.charCodeAt(index + 1)) ? 2 : 1;
  }
  return index;
}

/** The number of code points, which is a string's length in JSON Schema. */
export function codePoints(text: string): number {
  let count = text.length;
  for (let index = 1; index < text.length; index += 1) {
    if (isLow(text.charCodeAt(index)) && isHigh(text.charCodeAt(index - 1))) count -= 1;
  }
  return count;
}

/** UTF-16 units. A longer cluster (a letter with hundreds of marks) is cut like any text. */
const MAX_GRAPHEME = 64;

/**
 * The first `maxCodePoints` of a text. The cut is made between graphemes: a family emoji is kept or left out, never
 * reduced to one of its members.
 */
export function truncate(text: string, maxCodePoints: number): string {
  if (text.length <= maxCodePoints) return text;
  const end = indexAfter(text, maxCodePoints);
  if (end === text.length) return text;
  const boundary = new Intl.Segmenter("en").segment(text).containing(end)?.index ?? end;
  return text.slice(0, end - boundary > MAX_GRAPHEME ? end : boundary);
}
