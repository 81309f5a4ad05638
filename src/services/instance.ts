import { instanceById } from "../db/instances.ts";
import type { Deps } from "../deps.ts";
import { responderOf } from "../domain/adapter.ts";
import { notFound } from "../domain/errors.ts";
import { Uuid } from "../domain/ids.ts";
import type { InstanceBundle, InstanceConfig } from "../domain/instance.ts";

/** An instance that can answer: active, with an active configuration. */
export type ReadyBundle = InstanceBundle & { config: InstanceConfig };

/**
 * The active instance with all that belongs to it, or null; remembered for a while, also that there is none. Nothing is
 * asked of Postgres about what is no id: one bad value would fail everything that is read with it.
 */
export const findInstance = async (
  { read, caches }: Pick<Deps, "read" | "caches">,
  instanceId: string,
  options?: { refresh?: boolean },
): Promise<InstanceBundle | null> =>
  Uuid.safeParse(instanceId).success
    ? caches.instances.get(instanceId, () => read(instanceById(instanceId)), options)
    : null;

/**
 * Refuses (404) an instance that is unknown, inactive or another brand's, and one without an active configuration; and
 * (400) a configuration that can't answer: without a template set, function, template or model.
 */
export function requireReady(bundle: InstanceBundle | null, instanceId: string, brandId: string | null): ReadyBundle {
  if (bundle === null || (brandId !== null && bundle.instance.brandId !== brandId))
    throw notFound("instance", instanceId);
  if (bundle.config === null) throw notFound("config", instanceId);
  responderOf(bundle.config);
  return { ...bundle, config: bundle.config };
}
