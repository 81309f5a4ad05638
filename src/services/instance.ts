import { instanceById } from "../db/instances.ts";
import type { Deps } from "../deps.ts";
import { notFound } from "../domain/errors.ts";
import type { InstanceBundle, InstanceConfig } from "../domain/instance.ts";

/** An instance that can answer: active, with an active configuration. */
export type ReadyBundle = InstanceBundle & { config: InstanceConfig };

/** The active instance with all that belongs to it, or null; remembered for a while, also that there is none. */
export const findInstance = (
  { read, caches }: Pick<Deps, "read" | "caches">,
  instanceId: string,
  options?: { refresh?: boolean },
): Promise<InstanceBundle | null> => caches.instances.get(instanceId, () => read(instanceById(instanceId)), options);

/** Refuses (404) an instance that is unknown, inactive or another brand's, and one without an active configuration. */
export function requireReady(bundle: InstanceBundle | null, instanceId: string, brandId: string | null): ReadyBundle {
  if (bundle === null || (brandId !== null && bundle.instance.brandId !== brandId))
    throw notFound("instance", instanceId);
  if (bundle.config === null) throw notFound("config", instanceId);
  return { ...bundle, config: bundle.config };
}
