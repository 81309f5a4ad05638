import { isRecord } from "./json.ts";
import { cleanContent } from "./text.ts";

/**
 * Fields that hold the text of an answer, by preference: Parley's, then those of the model APIs (OpenAI, Anthropic, Gemini,
 * Bedrock, Ollama, AI SDK, LangGraph).
 */
const ANSWER_FIELDS = [
  ...["text", "llm_response", "message", "content", "parts"],
  ...["output_text", "output", "choices", "candidates", "messages", "response"],
];
/** Fields that hold the text of a message or a content block. */
const PART_FIELDS = ["text", "content", "parts", "message", "value"];

const TEXT_TYPES = ["text", "output_text", "text_delta", "message", "ai", "aimessage", "aimessagechunk"];
const ASSISTANT_ROLES = ["assistant", "ai", "model", "bot"];
const MAX_DEPTH = 8;

/** The text of an orchestrator's answer, cleaned; "" when there is none. Reasoning, tool calls and other media are left out. */
export function replyText(response: unknown): string {
  if (Array.isArray(response)) return cleanContent(textOf(response, 0));
  if (!isRecord(response)) return "";
  for (const field of ANSWER_FIELDS) {
    const text = cleanContent(textOf(answerField(response, field), 0));
    if (text !== "") return text;
  }
  return "";
}

function answerField(response: Record<string, unknown>, field: string): unknown {
  const value = response[field];
  if (!Array.isArray(value)) return value;
  // Alternatives: the first one is the answer.
  if (field === "choices" || field === "candidates") return value[0];
  // A conversation: the answer follows its last message of another author.
  return field === "messages" ? value.slice(value.findLastIndex((item) => !isAssistant(item)) + 1) : value;
}

function textOf(value: unknown, depth: number): string {
  if (typeof value === "string") return value;
  if (depth > MAX_DEPTH) return "";
  if (Array.isArray(value)) return joined(value, depth + 1);
  if (!isRecord(value)) return "";
  for (const field of PART_FIELDS) {
    const text = textOf(value[field], depth + 1);
    if (text.trim() !== "") return text;
  }
  return "";
}

/** Adjacent blocks of one message continue each other; a line break separates other parts where white space does not. */
function joined(parts: readonly unknown[], depth: number): string {
  let text = "";
  let continues = false;
  for (const part of parts) {
    const added = isText(part) ? textOf(part, depth) : "";
    if (added !== "") {
      const isBlock = isRecord(part) && part.role === undefined;
      const separated = text === "" || /\s$/.test(text) || /^\s/.test(added);
      text += separated || (continues && isBlock) ? added : `\n${added}`;
      continues = isBlock;
    } else {
      continues = false;
    }
  }
  return text;
}

/** Whether a part of an answer is text of the assistant. */
function isText(part: unknown): boolean {
  if (!isRecord(part)) return typeof part === "string";
  // Gemini marks reasoning so.
  if (part.thought === true || !isAssistant(part)) return false;
  return typeof part.type !== "string" || TEXT_TYPES.includes(part.type.toLowerCase());
}

/** Messages name their author by role, those of LangChain by type. */
const isAssistant = (item: unknown): boolean => {
  if (!isRecord(item)) return true;
  if (typeof item.role === "string") return ASSISTANT_ROLES.includes(item.role.toLowerCase());
  return item.type !== "human" && item.type !== "system" && item.type !== "tool";
};
