import { sql } from "drizzle-orm";
import type { SQL } from "drizzle-orm";
import type { Channel } from "../domain/channel.ts";
import type { ChannelEndpoint } from "../domain/inbound-message.ts";
import type { InstanceBundle } from "../domain/instance.ts";
import type { Query } from "./reader.ts";

/** How an instance is named: by its id, by the number people write to, or as a channel's webhook names it. */
export type InstanceKey =
  | { id: string }
  | { channel: Channel; recipientNumber: string }
  | { endpoint: ChannelEndpoint };

/**
 * Whether an active instance `i` is the one that is meant. A webhook's id of a number decides; the number itself only for
 * an instance that nobody has told its id.
 */
export function instanceIs(key: InstanceKey): SQL {
  if ("id" in key) return sql`i.is_active and i.id = ${key.id}`;
  if ("recipientNumber" in key) {
    return sql`i.is_active and i.channel = ${key.channel} and i.recipient_number = ${key.recipientNumber}`;
  }
  const { number, phoneNumberId } = key.endpoint;
  return sql`i.is_active and i.channel = 'whatsapp' and (i.phone_number_id = ${phoneNumberId}
    or i.phone_number_id is null and i.recipient_number = ${number} and not exists (
      select from instances other where other.is_active and other.phone_number_id = ${phoneNumberId}))`;
}

/** The active instance with its active configuration, template set, templates and models; null when there is none. */
export const instanceById = (instanceId: string): Query<InstanceBundle | null> => instanceBy({ id: instanceId });

/** The same by any of its names. */
export const instanceBy = (key: InstanceKey): Query<InstanceBundle | null> => ({
  statement: sql`
    select jsonb_build_object(
      'instance', jsonb_build_object(
        'id', i.id, 'brandId', i.brand_id, 'name', i.name, 'channel', i.channel, 'recipientNumber', i.recipient_number,
        'phoneNumberId', i.phone_number_id, 'acceptGuestUsers', i.accept_guest_users,
        'whatsappTemplate', i.metadata_json -> 'whatsapp_template'),
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
            where t.brand_id = i.brand_id
              and t.template_key in (select value #>> '{}' from jsonb_each(s.functions_json))
          )) end) end
    ) as bundle
    from instances i
    join brands b on b.id = i.brand_id and b.is_active
    left join instance_configs c on c.instance_id = i.id and c.is_active
    left join template_sets s on s.id = c.template_set_id and s.brand_id = i.brand_id
    where ${instanceIs(key)}
    limit 1`,
  read: ([row]) => (row ? (row.bundle as InstanceBundle) : null),
});
