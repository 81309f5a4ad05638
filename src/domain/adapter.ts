import { z } from "zod";
import { CHANNELS, type Channel } from "./channel.ts";
import { invalid, notFound } from "./errors.ts";
import { userTypeFor, type UserType } from "./identity.ts";
import type {
  InstanceBundle,
  InstanceConfig,
  PolicyGrants,
  PolicySettings,
  Template,
  TemplateSet,
} from "./instance.ts";
import { HistoryEntry, maxUnits } from "./prompt-history.ts";
import { sanitizeData } from "./sanitize.ts";
import type { Session } from "./session.ts";
import { formatIso } from "./time.ts";
import type { User, AuthState } from "./user.ts";
import { buildTokenPlan, type TokenPlan } from "./token-plan.ts";
import { byteLength, isRecord, type JsonObject } from "./json.ts";

export const ADAPTER_VERSION = "1.0";
/** Bytes of JSON in UTF-8. */
export const MAX_ADAPTER_BYTES = 1_048_576;

/** Messages of history in an adapter, newest kept: a long conversation must not be refused. */
const MAX_HISTORY = 100;
const MAX_HISTORY_BYTES = MAX_ADAPTER_BYTES / 2;

/** A stored plan is unvalidated JSON; without templates it counts as none. */
const isTokenPlan = (value: unknown): value is TokenPlan => isRecord(value) && isRecord(value.templates);

const Id = z.string().min(1);
const Timestamp = z.iso.datetime({ offset: true });

/** The orchestrator's input for one message. Holds no credential and no secret. */
export const Adapter = z.object({
  session_id: Id,
  session_context: z.object({ started_at: Timestamp, last_message_at: Timestamp.nullable() }),
  user_id: Id,
  is_guest: z.boolean(),
  user_type: z.enum(["guest", "verified"] satisfies UserType[]),
  message: z.object({
    sender_user_id: Id,
    content: Id,
    channel: z.enum(CHANNELS),
    message_id: Id,
    metadata: z.record(z.string(), z.unknown()),
  }),
  history: z.array(HistoryEntry),
  routing: z.object({ brand_id: Id, instance_id: Id }),
  template: z.object({ id: Id, json: z.record(z.string(), z.unknown()) }),
  model: Id,
  llm_runtime: Id,
  token_plan: z.custom<TokenPlan>(isTokenPlan, "is not a token plan"),
  /** The template of the token plan that the answer is counted against. */
  plan_key: Id,
  policy: z.object({
    auth_state: z.string(),
    can_call_tools: z.boolean(),
    can_write_memory: z.boolean(),
    allow_pii_output: z.boolean(),
  }),
  trace_id: Id,
  _meta: z.object({ build_time: Timestamp, adapter_version: Id, routing_plan_key: Id }),
});
export type Adapter = z.infer<typeof Adapter>;

export type AdapterInput = {
  bundle: InstanceBundle;
  user: User;
  session: Pick<Session, "id" | "startedAt" | "lastMessageAt" | "tokenPlan">;
  message: { id: string; content: string; channel: Channel; metadata: Record<string, unknown> };
  /** Oldest first, without the message itself. */
  history: HistoryEntry[];
  traceId: string;
  authState: AuthState;
  /** Epoch milliseconds. */
  now: number;
};

const DEFAULT_POLICY: Record<UserType, PolicyGrants> = {
  guest: { can_call_tools: false, can_write_memory: false, allow_pii_output: false },
  verified: { can_call_tools: true, can_write_memory: true, allow_pii_output: false },
};

/** Settings are unvalidated JSON: only a boolean overrides a default, since the text "false" must not grant anything. */
function policyFor(userType: UserType, settings: PolicySettings): PolicyGrants {
  const granted = (grant: keyof PolicyGrants): boolean => {
    const setting: unknown = settings[userType]?.[grant];
    return typeof setting === "boolean" ? setting : DEFAULT_POLICY[userType][grant];
  };
  return {
    can_call_tools: granted("can_call_tools"),
    can_write_memory: granted("can_write_memory"),
    allow_pii_output: granted("allow_pii_output"),
  };
}

/**
 * The function that answers a message, and its template: `response`, else `compose`, else the first there is.
 * Refuses (400) a set without functions and a function without an existing template.
 */
export function primaryFunction(set: TemplateSet): { name: string; template: Template } {
  const names = Object.keys(set.functions);
  const name = ["response", "compose"].find((preferred) => names.includes(preferred)) ?? names[0];
  if (name === undefined) throw invalid("template_set", "The template set has no functions");
  const key = set.functions[name];
  const template = typeof key === "string" && Object.hasOwn(set.templates, key) ? set.templates[key] : undefined;
  if (template === undefined) throw invalid("template", `The template of the function ${name} does not exist`);
  return { name, template };
}

/** The model's name and runtime. Refuses (400) a template without a model, and a model without either name. */
function modelOf({ llmModel }: Template): { model: string; llm_runtime: string } {
  if (llmModel === null) throw invalid("llm_model", "The template has no model");
  const model = llmModel.apiModelName?.trim() ?? "";
  const llm_runtime = llmModel.provider?.trim() ?? "";
  if (model === "") throw invalid("api_model_name", "The model has no api_model_name");
  if (llm_runtime === "") throw invalid("provider", "The model has no provider");
  return { model, llm_runtime };
}

/**
 * The function of the template set that answers messages, its template and its model. Refuses (400) a configuration that
 * lacks any of them.
 */
export function responderOf({ templateSet }: InstanceConfig) {
  if (templateSet === null) throw invalid("template_set", "The configuration has no template set");
  const { name, template } = primaryFunction(templateSet);
  return { templateSet, name, template, ...modelOf(template) };
}

/** The newest messages that fit, in order. */
function newest(history: AdapterInput["history"]): AdapterInput["history"] {
  const last = history.slice(-MAX_HISTORY);
  // A UTF-16 unit is six bytes of JSON at most: most histories fit whatever is in them.
  const units = last.reduce((sum, item) => sum + maxUnits(item), 0);
  if (units * 6 <= MAX_HISTORY_BYTES) return last;
  let left = MAX_HISTORY_BYTES;
  const kept: AdapterInput["history"] = [];
  for (const entry of last.toReversed()) {
    left -= byteLength(JSON.stringify(entry));
    if (left < 0) break;
    kept.push(entry);
  }
  return kept.toReversed();
}

/** Checks at run time: types don't hold across RPC and stored JSON. */
function need(thing: { id: string } | null | undefined, name: string): void {
  if (!thing?.id) throw invalid(name, `${name} is required`);
}

/**
 * Builds the orchestrator's input for one message, sanitises it (`sanitizeAdapter`) and validates it (`validateAdapter`).
 * Pure. Plans a session without a token plan; faults of the plan are warnings. Refuses (400) a missing session, user,
 * instance, message, template set, function, template or model, and (404) an instance without an active configuration.
 */
export function buildAdapter(input: AdapterInput): { adapter: Adapter; warnings: string[] } {
  const { bundle, user, session, message, now } = input;
  need(session, "session");
  need(user, "user");
  need(bundle?.instance, "instance");
  need(message, "message");
  const { instance, config } = bundle;
  if (config === null) throw notFound("config", instance.id);
  const { templateSet, name, template, model, llm_runtime } = responderOf(config);
  const planned = isTokenPlan(session.tokenPlan)
    ? { plan: session.tokenPlan, warnings: [] }
    : buildTokenPlan(templateSet, formatIso(now));
  const userType = userTypeFor(user.tier);
  const adapter = sanitizeAdapter({
    session_id: session.id,
    session_context: {
      started_at: formatIso(session.startedAt),
      last_message_at: formatIso(session.lastMessageAt),
    },
    user_id: user.id,
    is_guest: userType === "guest",
    user_type: userType,
    message: {
      sender_user_id: user.id,
      content: message.content,
      channel: message.channel,
      message_id: message.id,
      metadata: message.metadata,
    },
    history: newest(input.history),
    routing: { brand_id: instance.brandId, instance_id: instance.id },
    template: { id: templateSet.id, json: templateSet.functions },
    model,
    llm_runtime,
    token_plan: planned.plan,
    plan_key: template.templateKey,
    policy: { auth_state: input.authState, ...policyFor(userType, config.policy) },
    trace_id: input.traceId,
    _meta: {
      build_time: formatIso(now),
      adapter_version: ADAPTER_VERSION,
      routing_plan_key: config.routingPlanKey ?? `${instance.id}:${name}`,
    },
  });
  return { adapter: validateAdapter(adapter), warnings: planned.warnings };
}

/**
 * A copy without sensitive keys at any depth; strings of at most 10,000 code points, objects and lists of at most 100
 * entries. Text is not HTML-escaped, since models read it as it is.
 */
export const sanitizeAdapter = (adapter: Record<string, unknown>): JsonObject =>
  sanitizeData(adapter, { allowed: ["message.metadata.whatsapp.form.token"] });

/** Validates an adapter. Refuses (400) a missing or invalid field, by its path, and more than 1 MB of JSON. */
export function validateAdapter(value: unknown): Adapter {
  const result = Adapter.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    const field = issue?.path.join(".") || "adapter";
    throw invalid(field, `${field}: ${issue?.message ?? "is not valid"}`);
  }
  const json = JSON.stringify(result.data);
  // A UTF-16 unit is three bytes at most.
  if (json.length * 3 > MAX_ADAPTER_BYTES && byteLength(json) > MAX_ADAPTER_BYTES) {
    throw invalid("adapter", "The adapter is larger than 1 MB");
  }
  return result.data;
}
