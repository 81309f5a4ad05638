import type { Channel } from "./channel.ts";
import { invalid } from "./errors.ts";
import { byteLength } from "./json.ts";

/**
 * Bytes of an instance's configuration as JSON. A conversation stores it beside the session's token plan, which is at most
 * as large; the platform's limit of a stored value is 2 MB.
 */
export const MAX_BUNDLE_BYTES = 1_000_000;

/** Refuses an instance with a configuration that is too large to store. `json` is the bundle's. */
export function assertBundleFits(json: string): void {
  // A UTF-16 unit is at most 3 bytes: most bundles fit without being encoded, which happens for every message.
  if (json.length * 3 <= MAX_BUNDLE_BYTES || byteLength(json) <= MAX_BUNDLE_BYTES) return;
  throw invalid("instance_id", "The instance's configuration is too large: shorten its templates");
}

/** A language model of the catalogue. Prices are USD per 1,000 tokens as decimal strings, never floats. */
export type LlmModel = {
  id: string;
  name: string;
  apiModelName: string | null;
  provider: string | null;
  /** Decimal string as in Postgres; null means not set (0.7 is used), "0.0" means 0. */
  temperature: string | null;
  inputPricePer1k: string | null;
  outputPricePer1k: string | null;
};

/** One prompt template of a set. `sections` is unvalidated JSON: the token plan skips what it cannot use. */
export type Template = {
  id: string;
  templateKey: string;
  name: string;
  sections: unknown;
  llmModel: LlmModel | null;
};

export type TemplateSet = {
  id: string;
  name: string;
  /** function name -> template key, e.g. {"response": "support_reply"} */
  functions: Record<string, unknown>;
  /** The templates that `functions` names and that exist, by template key. */
  templates: Record<string, Template>;
};

/** Permissions of guests and identified users. Missing keys take the defaults in `adapter.ts`. */
export type PolicySettings = Partial<Record<"guest" | "verified", Partial<PolicyGrants>>> & {
  /** Whether the content of messages that users have revoked stays in storage. Deleted unless it is "keep". */
  revoked_messages?: "keep" | "blank";
};
export type PolicyGrants = { can_call_tools: boolean; can_write_memory: boolean; allow_pii_output: boolean };

export type InstanceConfig = {
  id: string;
  defaultReply: string;
  sessionTimeoutMinutes: number | null;
  routingPlanKey: string | null;
  policy: PolicySettings;
  templateSet: TemplateSet | null;
};

export type Instance = {
  id: string;
  brandId: string;
  name: string;
  channel: Channel;
  recipientNumber: string | null;
  phoneNumberId: string | null;
  acceptGuestUsers: boolean;
  /** The template sent on WhatsApp outside the service window; from the instance's metadata. */
  whatsappTemplate?: WhatsAppTemplate | null;
  /** Sent to a user who opens the chat without writing; from the instance's metadata. */
  greeting?: string | null;
};

/**
 * A message template approved by Meta. `components` are sent to the Graph API unchanged. `text` is the template's body with
 * its `{{1}}` placeholders, for the history.
 */
export type WhatsAppTemplate = { name: string; language: string; components?: unknown; text?: string };

/** The instance data that a message needs, read in one query and cached in the isolate. */
export type InstanceBundle = {
  instance: Instance;
  /** null without an active configuration; messages are refused with 404 then. */
  config: InstanceConfig | null;
};
