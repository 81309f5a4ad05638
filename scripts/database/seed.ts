import { createHash } from "node:crypto";
import type { Backend, Statement } from "../neon-proxy/backend.ts";
import { query } from "../neon-proxy/backend.ts";
import { DEMO_BRANDS, DEMO_INSTANCES } from "./demo.ts";

type Value = string | boolean | null | undefined | readonly unknown[] | Record<string, unknown>;

/** Inserts the demo in one transaction. Existing rows stay unchanged. */
export async function seed(backend: Backend): Promise<void> {
  await backend.run({ statements: demoStatements(), transaction: {} });
}

/** Whether the database has no brand yet. */
export async function isEmpty(backend: Backend): Promise<boolean> {
  const { rows } = await query(backend, "SELECT 1 FROM brands LIMIT 1");
  return rows.length === 0;
}

function demoStatements(): Statement[] {
  const brands = DEMO_BRANDS.flatMap((brand) => [
    insert("brands", { id: brand.id, name: brand.name }),
    insert("api_keys", {
      id: brand.apiKey.id,
      brand_id: brand.id,
      name: "Development",
      prefix: brand.apiKey.secret.slice(0, 12),
      secret_hash: createHash("sha256").update(brand.apiKey.secret).digest("hex"),
    }),
    insert("llm_models", {
      id: brand.model.id,
      name: brand.model.name,
      api_model_name: "demo-model",
      provider: "openai",
      temperature: brand.model.temperature,
      input_price_per_1k: brand.model.inputPrice,
      output_price_per_1k: brand.model.outputPrice,
    }),
    ...brand.templates.map((template) =>
      insert("templates", {
        id: template.id,
        brand_id: brand.id,
        template_key: template.key,
        name: template.name,
        sections_json: template.sections,
        llm_model_id: brand.model.id,
      }),
    ),
    insert("template_sets", {
      id: brand.templateSet.id,
      brand_id: brand.id,
      name: brand.templateSet.name,
      functions_json: Object.fromEntries(brand.templates.map((template) => [template.function, template.key])),
    }),
  ]);

  const instances = DEMO_INSTANCES.flatMap((instance) => [
    insert("instances", {
      id: instance.id,
      brand_id: instance.brandId,
      name: instance.name,
      channel: instance.channel,
      recipient_number: "recipientNumber" in instance ? instance.recipientNumber : null,
      phone_number_id: "phoneNumberId" in instance ? instance.phoneNumberId : null,
      is_active: !("inactive" in instance),
      accept_guest_users: instance.guests,
    }),
    insert("instance_configs", {
      // The instance's id with a 1 before its number: fixed, so that seeding again changes nothing.
      id: `${instance.id.slice(0, -4)}1${instance.id.slice(-3)}`,
      instance_id: instance.id,
      is_active: !("unconfigured" in instance),
      template_set_id: DEMO_BRANDS.find((brand) => brand.id === instance.brandId)?.templateSet.id,
    }),
  ]);
  return [...brands, ...instances];
}

function insert(table: string, row: Record<string, Value>): Statement {
  const columns = Object.keys(row);
  const places = columns.map((_, index) => `$${index + 1}`);
  return {
    query: `INSERT INTO ${table} (${columns.join(", ")}) VALUES (${places.join(", ")}) ON CONFLICT DO NOTHING`,
    params: Object.values(row).map(toText),
  };
}

function toText(value: Value): string | null {
  if (value === null || value === undefined) return null;
  return typeof value === "string" ? value : JSON.stringify(value);
}
