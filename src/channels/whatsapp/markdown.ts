/** Spans of Markdown in one line. Inner lengths are bounded, so that unmatched marks cost linear time. */
const SPAN = new RegExp(
  [
    "(?<code>(?<ticks>`{1,16})[^`\\n]{1,2000}\\k<ticks>(?!`))",
    "!?\\[(?<label>[^\\[\\]\\n]{0,1000})\\]\\((?<target>(?:[^()\\n]|\\([^()\\n]{0,500}\\)){1,2000})\\)",
    "<(?<autolink>(?:https?:\\/\\/|mailto:)[^<>\\s]{1,2000})>",
    "(?<url>https?:\\/\\/[^\\s<>*]{1,2000})",
    "\\\\(?<escaped>[*_~`])",
    "(?<![A-Za-z0-9*])\\*{3}(?=[^\\s*])(?<both>[^\\n]{0,1000}?[^\\s*])\\*{3}(?![A-Za-z0-9*])",
    "(?<![A-Za-z0-9*])\\*\\*(?=[^\\s*])(?<bold>[^\\n]{0,1000}?\\S)\\*\\*(?![A-Za-z0-9*])",
    "(?<![A-Za-z0-9_])__(?=[^\\s_])(?<strong>[^\\n]{0,1000}?[^\\s_])__(?![A-Za-z0-9_])",
    "(?<![A-Za-z0-9*])\\*(?=[^\\s*])(?<italic>[^*\\n]{0,1000}?[^\\s*])\\*(?![A-Za-z0-9*])",
    "~~(?=[^\\s~])(?<struck>[^\\n]{0,1000}?[^\\s~])~~",
  ].join("|"),
  "gu",
);

/** Marks that only Markdown has. In a text without any of them a single `*` is WhatsApp's own bold and stays. */
const MARKDOWN_ONLY = /\*\*|__|~~|\]\(|^ {0,3}#{1,6} /mu;

const HEADING = /^ {0,3}#{1,6}[ \t]{1,8}(\S.{0,1000})$/u;

/**
 * Translates Markdown into WhatsApp's marks: `**bold**` to `*bold*`, `*italic*` to `_italic_`, `~~struck~~` to `~struck~`,
 * a heading to a bold line, `[text](url)` to `text (url)`. Code stays as it is, and so does a text without Markdown.
 * https://faq.whatsapp.com/539178204879377
 */
export function toWhatsAppMarks(text: string): string {
  const isMarkdown = MARKDOWN_ONLY.test(text);
  let open: string | null = null;
  return text
    .split("\n")
    .map((line) => {
      const mark = fenceOf(line);
      if (open === null && mark === null) return lineOf(line, isMarkdown);
      const isFence = mark !== null && (open === null || closes(mark, open));
      if (isFence) open = open === null ? mark : null;
      // WhatsApp knows backticks only.
      return isFence && mark.startsWith("~") ? line.replace(mark, "```") : line;
    })
    .join("\n");
}

/** The mark of a line that opens or closes a code block; null for any other line. */
export function fenceOf(line: string): string | null {
  const [, mark = null, info = ""] = /^\s{0,64}(`{3,16}|~{3,16})(.*)$/u.exec(line) ?? [];
  return info.includes("`") ? null : mark;
}

/** Whether a mark closes the code block that `open` has opened. */
export const closes = (mark: string, open: string): boolean => mark[0] === open[0] && mark.length >= open.length;

type Style = {
  isMarkdown: boolean;
  /** The text stands in bold already, so bold adds no marks. */
  isBold: boolean;
};

function lineOf(line: string, isMarkdown: boolean): string {
  const [, heading] = HEADING.exec(line) ?? [];
  if (heading === undefined) return spansOf(line, { isMarkdown, isBold: false });
  const [, title = heading] = /^(.*\S)[ \t]{1,8}#{1,6}$/u.exec(heading.trimEnd()) ?? [];
  return `*${spansOf(title.trimEnd(), { isMarkdown, isBold: true })}*`;
}

function spansOf(line: string, style: Style): string {
  return line.replace(SPAN, (span: string, ...rest: unknown[]) => {
    const groups = rest.at(-1) as Record<string, string | undefined>;
    const { code, label = "", target, autolink, url, escaped, both, bold, strong, italic, struck = "" } = groups;
    if (code !== undefined || url !== undefined) return span;
    if (target !== undefined) return linkOf(spansOf(label, style), target.trim());
    const literal = autolink ?? escaped;
    if (literal !== undefined) return literal;
    const inBold = (text: string) => (style.isBold ? text : `*${text}*`);
    if (both !== undefined) return inBold(`_${spansOf(both, { ...style, isBold: true })}_`);
    const words = bold ?? strong;
    if (words !== undefined) return inBold(spansOf(words, { ...style, isBold: true }));
    if (italic !== undefined) return style.isMarkdown ? `_${spansOf(italic, style)}_` : span;
    return `~${spansOf(struck, style)}~`;
  });
}

const linkOf = (label: string, target: string): string =>
  label.trim() === "" || label === target || `mailto:${label}` === target ? target : `${label} (${target})`;
