import { isRecord } from "./json.ts";
import { MAX_CONTENT } from "./message.ts";
import { replyText } from "./reply-text.ts";
import { fitMetadata, sanitizeData, sanitizeString } from "./sanitize.ts";
import { codePoints } from "./text.ts";

/** An orchestrator's answer as it is returned and stored. */
export type Reply = {
  text: string;
  /** True when the answer has no text and the text is the instance's default reply. */
  isDefault: boolean;
  /** For the message's row: `{orchestrator_response}`, sanitised, at most 64 KB, and `truncated` for a text that was cut. */
  metadata: Record<string, unknown>;
  warnings: string[];
};

/**
 * Reads an orchestrator's answer; none is refused. The text is cleaned and cut at 10,000 code points with a warning;
 * without a text, `defaultReply` is returned.
 */
export function readReply(response: unknown, defaultReply: string): Reply {
  if (!isRecord(response) && !Array.isArray(response)) {
    return { text: defaultReply, isDefault: true, metadata: {}, warnings: ["the answer is not a JSON object or list"] };
  }
  const warnings: string[] = [];
  const text = replyText(response);
  if (text === "") warnings.push("the answer has no text");
  const truncated = codePoints(text) > MAX_CONTENT;
  if (truncated) warnings.push(`the answer is longer than ${MAX_CONTENT} characters: truncated`);

  const kept = fitMetadata(sanitizeData(isRecord(response) ? response : { content: response }));
  if (kept.truncated) warnings.push("orchestrator_response is larger than 64 KB: truncated");
  return {
    text: text === "" ? defaultReply : sanitizeString(text, { maxString: MAX_CONTENT }),
    isDefault: text === "",
    metadata: { orchestrator_response: kept.value, ...(truncated ? { truncated } : {}) },
    warnings,
  };
}
