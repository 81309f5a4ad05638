import { closes, fenceOf } from "./markdown.ts";

/** Lookahead beyond the limit, so that a sentence that crosses it is recognised as unfinished. */
const LOOKAHEAD = 256;

const sentences = new Intl.Segmenter("en", { granularity: "sentence" });
const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });

/** A code block that is open at a cut: its first line, where that line starts, and the mark that closes the block. */
type CodeBlock = { line: string; start: number; mark: string };

/**
 * Splits a text into parts of at most `max` UTF-16 units: after a sentence if possible, else between words, else between
 * graphemes. Only the break at a cut is removed; indentation stays. A code block is cut between its lines, closed, and
 * opened again in the next part.
 */
export function splitText(text: string, max: number): string[] {
  const parts: string[] = [];
  let rest = text.replace(/^(?:[^\S\n]*\n)+/u, "").trimEnd();
  /** Opens the code block that goes on in `rest`. */
  let opening = "";
  while (opening.length + rest.length > max) {
    const room = max - opening.length;
    let cut = cutOf(rest, room);
    const block = openBlock(opening + rest.slice(0, cut));
    if (block !== null) cut = cutOfCode(rest, room - block.mark.length - 1, block.start - opening.length);
    const open = block && openBlock(opening + rest.slice(0, cut));
    const head = rest.slice(0, cut);
    if (head.trim() !== "") {
      parts.push(opening + (open === null ? head.trimEnd() : `${head.replace(/\n$/u, "")}\n${open.mark}`));
    }
    rest = open === null ? withoutBreak(rest, cut) : rest.slice(cut);
    opening = open === null ? "" : `${open.line.length > max / 8 ? open.mark : open.line}\n`;
    const [next = ""] = rest.split("\n", 1);
    const mark = fenceOf(next);
    if (open !== null && mark !== null && closes(mark, open.mark)) {
      rest = withoutBreak(rest, next.length);
      opening = "";
    }
  }
  return rest.trim() === "" ? parts : [...parts, opening + rest];
}

/** The text after a cut without the break there: blank lines, or the space between two words. */
function withoutBreak(text: string, cut: number): string {
  const rest = text.slice(cut);
  const isAtLine = text[cut - 1] === "\n" || /^[^\S\n]*\n/u.test(rest);
  return isAtLine ? rest.replace(/^(?:[^\S\n]*\n)+/u, "") : rest.trimStart();
}

function cutOf(text: string, max: number): number {
  const cut = sentenceOrWord(text, max);
  // Not inside of a line's indentation.
  const line = text.lastIndexOf("\n", cut - 1) + 1;
  return line > 0 && text.slice(line, cut).trim() === "" ? line : cut;
}

function sentenceOrWord(text: string, max: number): number {
  const within = ({ index }: { index: number }) => index > 0 && index <= max;
  const sentence = [...sentences.segment(text.slice(0, max + LOOKAHEAD))].findLast(within)?.index ?? 0;
  if (sentence > max / 2) return sentence;
  const word = /.*\s/su.exec(text.slice(0, max + 1))?.[0].length ?? 0;
  if (word > max / 2) return Math.min(word, max);
  return Math.max(sentence, lastGrapheme(text, max));
}

/** Before a code block that begins late in the part, else after its last line that fits, else between graphemes. */
function cutOfCode(text: string, max: number, start: number): number {
  if (start > max / 2) return start;
  const line = text.lastIndexOf("\n", max - 1) + 1;
  const firstLine = start < 0 ? 0 : text.indexOf("\n", start) + 1;
  return line > firstLine ? line : lastGrapheme(text, max);
}

const lastGrapheme = (text: string, max: number): number =>
  [...graphemes.segment(text.slice(0, max + LOOKAHEAD))].findLast(({ index }) => index > 0 && index <= max)?.index ??
  max;

function openBlock(text: string): CodeBlock | null {
  let open: CodeBlock | null = null;
  let start = 0;
  for (const line of text.split("\n")) {
    const mark = fenceOf(line);
    if (mark !== null && open === null) open = { line, start, mark };
    else if (mark !== null && open !== null && closes(mark, open.mark)) open = null;
    start += line.length + 1;
  }
  return open;
}
