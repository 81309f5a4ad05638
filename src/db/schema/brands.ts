import { sql } from "drizzle-orm";
import { boolean, check, index, integer, numeric, pgTable, text, uniqueIndex, uuid } from "drizzle-orm/pg-core";
import { CHANNELS } from "../../domain/channel.ts";
import { createdAt, id, isArray, isObject, isOneOf, jsonArray, jsonObject, moment, updatedAt } from "./columns.ts";

export const brands = pgTable(
  "brands",
  {
    id: id(),
    name: text("name").notNull(),
    isActive: boolean("is_active").notNull().default(true),
    /** The brand's own user tokens: its key set, and the issuer and audience its tokens must have. */
    jwksUrl: text("jwks_url"),
    jwtIssuer: text("jwt_issuer"),
    jwtAudience: text("jwt_audience"),
    /** null keeps sessions for ever. */
    retentionDays: integer("retention_days"),
    /** Whether message text may appear in spans. Off unless a brand asks for it. */
    captureContent: boolean("capture_content").notNull().default(false),
    /** Origins of browsers that may call, as `https://shop.example`; `*` for any. */
    allowedOriginsJson: jsonArray<string>("allowed_origins_json"),
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    isArray("brands_allowed_origins_is_array", table.allowedOriginsJson),
    isObject("brands_metadata_is_object", table.metadataJson),
    check("brands_retention_days", sql`${table.retentionDays} between 1 and 36500`),
  ],
);

/** The last fetched key set: its keys stay valid while its URL is unavailable. */
export const keySets = pgTable(
  "key_sets",
  {
    url: text("url").primaryKey(),
    keysJson: jsonArray<Record<string, unknown>>("keys_json"),
    fetchedAt: moment("fetched_at").notNull(),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [isArray("key_sets_keys_is_array", table.keysJson)],
);

export const apiKeys = pgTable(
  "api_keys",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    /** The public beginning of a key, up to the secret; identifies the key. */
    prefix: text("prefix").notNull(),
    /** Lower-case hex SHA-256 of the whole key, or its HMAC with the pepper. A key has enough entropy for a plain hash. */
    secretHash: text("secret_hash").notNull().unique(),
    scopesJson: jsonArray<string>("scopes_json"),
    expiresAt: moment("expires_at"),
    revokedAt: moment("revoked_at"),
    lastUsedAt: moment("last_used_at"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [index("api_keys_brand").on(table.brandId), isArray("api_keys_scopes_is_array", table.scopesJson)],
);

export const llmModels = pgTable("llm_models", {
  id: id(),
  name: text("name").notNull(),
  apiModelName: text("api_model_name"),
  provider: text("provider"),
  temperature: numeric("temperature"),
  /** USD per 1,000 tokens. */
  inputPricePer1k: numeric("input_price_per_1k"),
  outputPricePer1k: numeric("output_price_per_1k"),
  isActive: boolean("is_active").notNull().default(true),
  createdAt: createdAt(),
  updatedAt: updatedAt(),
});

export const templates = pgTable(
  "templates",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    templateKey: text("template_key").notNull(),
    name: text("name").notNull(),
    sectionsJson: jsonArray("sections_json"),
    llmModelId: uuid("llm_model_id").references(() => llmModels.id, { onDelete: "set null" }),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    uniqueIndex("templates_brand_key").on(table.brandId, table.templateKey),
    isArray("templates_sections_is_array", table.sectionsJson),
  ],
);

export const templateSets = pgTable(
  "template_sets",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    /** function name -> template key */
    functionsJson: jsonObject("functions_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("template_sets_brand").on(table.brandId),
    isObject("template_sets_functions_is_object", table.functionsJson),
  ],
);

export const instances = pgTable(
  "instances",
  {
    id: id(),
    brandId: uuid("brand_id")
      .notNull()
      .references(() => brands.id, { onDelete: "cascade" }),
    name: text("name").notNull(),
    channel: text("channel", { enum: CHANNELS }).notNull(),
    /** The number that users write to or call, E.164 (WhatsApp, voice). */
    recipientNumber: text("recipient_number"),
    /** Meta's id of that number: the routing key of its webhooks. */
    phoneNumberId: text("phone_number_id"),
    isActive: boolean("is_active").notNull().default(true),
    acceptGuestUsers: boolean("accept_guest_users").notNull().default(false),
    metadataJson: jsonObject("metadata_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    index("instances_brand").on(table.brandId),
    uniqueIndex("instances_recipient")
      .on(table.channel, table.recipientNumber)
      .where(sql`${table.isActive} and ${table.recipientNumber} is not null`),
    uniqueIndex("instances_phone_number_id")
      .on(table.phoneNumberId)
      .where(sql`${table.isActive} and ${table.phoneNumberId} is not null`),
    isOneOf("instances_channel", table.channel, CHANNELS),
    isObject("instances_metadata_is_object", table.metadataJson),
  ],
);

export const instanceConfigs = pgTable(
  "instance_configs",
  {
    id: id(),
    instanceId: uuid("instance_id")
      .notNull()
      .references(() => instances.id, { onDelete: "cascade" }),
    isActive: boolean("is_active").notNull().default(true),
    templateSetId: uuid("template_set_id").references(() => templateSets.id, { onDelete: "set null" }),
    /** The reply when the orchestrator fails or takes too long. */
    defaultReply: text("default_reply")
      .notNull()
      .default("Sorry, I can't answer right now. Please try again in a moment."),
    /** null takes SESSION_TIMEOUT_MINUTES. */
    sessionTimeoutMinutes: integer("session_timeout_minutes"),
    routingPlanKey: text("routing_plan_key"),
    policyJson: jsonObject("policy_json"),
    createdAt: createdAt(),
    updatedAt: updatedAt(),
  },
  (table) => [
    uniqueIndex("instance_configs_one_active")
      .on(table.instanceId)
      .where(sql`${table.isActive}`),
    isObject("instance_configs_policy_is_object", table.policyJson),
  ],
);
