import { MAX_CONTENT } from "./message.ts";
import { fitMetadata, sanitizeData, sanitizeString } from "./sanitize.ts";
import { cleanText, codePoints } from "./text.ts";
import { isRecord } from "./json.ts";

/** An orchestrator's answer as it is told and kept. */
export type Reply = {
  text: string;
  /** True when the answer held no text and the instance's default reply stands for it. */
  isDefault: boolean;
  /** For the message's row: `{orchestrator_response}`, sanitised, at most 64 KB; empty for what was no object. */
  metadata: Record<string, unknown>;
  warnings: string[];
};

/** In the order they count; the later ones are what other orchestrators call it. */
const TEXT_FIELDS = ["text", "llm_response", "message", "content"] as const;

const clean = (value: unknown): string => (typeof value === "string" ? cleanText(value).trim() : "");

/** The text of an answer: the first field with one, or with a message whose `content` is one. "" when there is none. */
export function replyText(response: unknown): string {
  if (!isRecord(response)) return "";
  for (const field of TEXT_FIELDS) {
    const value = response[field];
    const text = clean(isRecord(value) ? value.content : value);
    if (text !== "") return text;
  }
  return "";
}

/**
 * Reads what an orchestrator answered; nothing it can answer is refused. The text is cleaned and cut at 10,000 code
 * points with a warning; without one, `defaultReply` is told.
 */
export function readReply(response: unknown, defaultReply: string): Reply {
  if (!isRecord(response)) {
    return { text: defaultReply, isDefault: true, metadata: {}, warnings: ["the answer is not a JSON object"] };
  }
  const warnings: string[] = [];
  const text = replyText(response);
  if (text === "") warnings.push("the answer has no text");
  if (codePoints(text) > MAX_CONTENT) warnings.push(`the answer is longer than ${MAX_CONTENT} characters: truncated`);

  const kept = fitMetadata(sanitizeData(response));
  if (kept.truncated) warnings.push("orchestrator_response is larger than 64 KB: truncated");
  return {
    text: text === "" ? defaultReply : sanitizeString(text, { maxString: MAX_CONTENT }),
    isDefault: text === "",
    metadata: { orchestrator_response: kept.value },
    warnings,
  };
}
