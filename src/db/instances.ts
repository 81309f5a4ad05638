import { and, eq, sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Channel } from "../domain/channel.ts";
import type { ChannelEndpoint } from "../domain/inbound-message.ts";
import type { InstanceBundle } from "../domain/instance.ts";
import { query } from "./reader.ts";
import type { Query } from "./reader.ts";
import { instances } from "./schema/brands.ts";

/** The names of an instance: its id, its recipient number, or the endpoint a channel's webhook gives. */
export type InstanceKey =
  | { id: string }
  | { channel: Channel; recipientNumber: string }
  | { channel: Channel; endpoint: ChannelEndpoint };

/**
 * Whether the `instances` row is active and the one the key names. A webhook's phone number id decides; the number itself
 * only for an instance that has no phone number id.
 */
export function instanceIs(key: InstanceKey): SQL | undefined {
  if ("id" in key) return and(instances.isActive, eq(instances.id, key.id));
  if ("recipientNumber" in key) {
    return and(
      instances.isActive,
      eq(instances.channel, key.channel),
      eq(instances.recipientNumber, key.recipientNumber),
    );
  }
  const { number, phoneNumberId } = key.endpoint;
  return sql`${instances.isActive} and ${instances.channel} = ${key.channel} and (${instances.phoneNumberId} = ${phoneNumberId}
    or ${instances.phoneNumberId} is null and ${instances.recipientNumber} = ${number} and not exists (
      select from instances other where other.is_active and other.phone_number_id = ${phoneNumberId}))`;
}

/** The active instance with its active configuration, template set, templates and models; null when there is none. */
export const instanceById = (instanceId: string): Query<InstanceBundle | null> => instanceBy({ id: instanceId });

/** The same by any of its names. */
export const instanceBy = (key: InstanceKey): Query<InstanceBundle | null> =>
  query(
    sql<{ bundle: InstanceBundle }>`
    select jsonb_build_object(
      'instance', jsonb_build_object(
        'id', instances.id, 'brandId', instances.brand_id, 'name', instances.name, 'channel', instances.channel, 'recipientNumber', instances.recipient_number,
        'phoneNumberId', instances.phone_number_id, 'acceptGuestUsers', instances.accept_guest_users,
        'whatsappTemplate', instances.metadata_json -> 'whatsapp_template', 'greeting', instances.metadata_json ->> 'greeting'),
      'config', case when c.id is null then null else jsonb_build_object(
        'id', c.id, 'defaultReply', c.default_reply, 'sessionTimeoutMinutes', c.session_timeout_minutes,
        'routingPlanKey', c.routing_plan_key, 'policy', c.policy_json,
        'templateSet', case when s.id is null then null else jsonb_build_object(
          'id', s.id, 'name', s.name, 'functions', s.functions_json,
          'templates', (
            select coalesce(jsonb_object_agg(t.template_key, jsonb_build_object(
              'id', t.id, 'templateKey', t.template_key, 'name', t.name, 'sections', t.sections_json,
              'llmModel', case when m.id is null then null else jsonb_build_object(
                'id', m.id, 'name', m.name, 'apiModelName', m.api_model_name, 'provider', m.provider,
                'temperature', m.temperature::text, 'inputPricePer1k', m.input_price_per_1k::text,
                'outputPricePer1k', m.output_price_per_1k::text) end)), '{}')
            from templates t left join llm_models m on m.id = t.llm_model_id and m.is_active
            where t.brand_id = instances.brand_id
              and t.template_key in (select value #>> '{}' from jsonb_each(s.functions_json))
          )) end) end
    ) as bundle
    from instances
    join brands b on b.id = instances.brand_id and b.is_active
    left join instance_configs c on c.instance_id = instances.id and c.is_active
    left join template_sets s on s.id = c.template_set_id and s.brand_id = instances.brand_id
    where ${instanceIs(key)}
    limit 1`,
    ([row]) => row?.bundle ?? null,
  );
