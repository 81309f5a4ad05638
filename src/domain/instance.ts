import type { Channel } from "./channel.ts";

/** A language model as the catalogue knows it. Prices are USD per 1,000 tokens, as decimal strings: never floats. */
export type LlmModel = {
  id: string;
  name: string;
  apiModelName: string | null;
  provider: string | null;
  /** Decimal string as Postgres gives it; null means "not set" (0.7 is used), "0.0" means 0. */
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

/** What guests and identified users may make the model do. Missing keys take the defaults in `adapter.ts`. */
export type PolicySettings = Partial<Record<"guest" | "verified", Partial<PolicyGrants>>>;
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
  /** What is sent on WhatsApp when only a template may be; from the instance's metadata. */
  whatsappTemplate?: WhatsAppTemplate | null;
};

/**
 * A message template Meta has approved, by name. `components` go to the Graph API as they are. `text` is the template's body
 * with its `{{1}}` placeholders, for the history.
 */
export type WhatsAppTemplate = { name: string; language: string; components?: unknown; text?: string };

/** All that a message needs to know of an instance, read in one query and cached in the isolate. */
export type InstanceBundle = {
  instance: Instance;
  /** null when the instance has no active configuration: a message to it is 404 for the config. */
  config: InstanceConfig | null;
};
