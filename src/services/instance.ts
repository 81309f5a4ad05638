import { isSameKind } from "../channels/registry.ts";
import { instanceBy, instanceById } from "../db/instances.ts";
import type { InstanceKey } from "../db/instances.ts";
import type { Deps } from "../deps.ts";
import { responderOf } from "../domain/adapter.ts";
import type { Channel } from "../domain/channel.ts";
import { AppError, notFound } from "../domain/errors.ts";
import type { Principal } from "../domain/principal.ts";
import { Uuid } from "../domain/ids.ts";
import type { InstanceBundle, InstanceConfig } from "../domain/instance.ts";
import { oncePer } from "../isolate/once.ts";
import { EVENT } from "../telemetry/events.ts";

/** An active instance with an active configuration. */
export type ReadyBundle = InstanceBundle & { config: InstanceConfig };

/**
 * Returns an active instance with its configuration, or null; both are cached. An invalid id is not sent to Postgres,
 * where it would fail every read of the same batch.
 */
export const findInstance = async (
  { read, caches }: Pick<Deps, "read" | "caches">,
  instanceId: string,
  options?: { refresh?: boolean },
): Promise<InstanceBundle | null> =>
  Uuid.safeParse(instanceId).success
    ? caches.instances.get(instanceId, () => caches.keyLookups.run(() => read(instanceById(instanceId))), options)
    : null;

/** Returns an active instance by another key than its id. */
export const findInstanceBy = (
  { read, caches }: Pick<Deps, "read" | "caches">,
  key: InstanceKey,
  options?: { refresh?: boolean },
): Promise<InstanceBundle | null> => caches.instances.get(JSON.stringify(key), () => read(instanceBy(key)), options);

/**
 * Returns the instance that users reach at a channel's number (E.164). Without a number: null, and a warning in the log.
 */
export async function findInstanceByChannel(
  deps: Pick<Deps, "read" | "caches" | "log">,
  channel: Channel,
  recipientNumber: string | null,
  options?: { refresh?: boolean },
): Promise<InstanceBundle | null> {
  if (recipientNumber !== null) return findInstanceBy(deps, { channel, recipientNumber }, options);
  return deps.log.warn(EVENT.recipientMissing, { channel }) ?? null;
}

/**
 * Refuses (401) a user token of another brand than the instance's. `principals` are all that the request carries, in
 * its header and its body. Without this check a brand could sign tokens for another brand's users.
 */
export function requireTokensOfBrand(bundle: InstanceBundle | null, principals: readonly (Principal | null)[]): void {
  const isForeign = (principal: Principal | null) =>
    principal?.kind === "user" && bundle !== null && principal.brandId !== bundle.instance.brandId;
  if (principals.some(isForeign)) throw new AppError("UNAUTHORIZED", "The token is not valid for this instance");
}

/** Refuses (404) an instance of another kind of channel. */
export function requireSameKind(bundle: InstanceBundle | null, instanceId: string, channel: Channel): void {
  if (bundle !== null && !isSameKind(bundle.instance.channel, channel)) throw notFound("instance", instanceId);
}

/**
 * Refuses (404) an instance that is unknown, inactive or another brand's, and one without an active configuration; and
 * (400) a configuration that can't answer: without a template set, function, template or model.
 */
export function requireReady(bundle: InstanceBundle | null, instanceId: string, brandId: string | null): ReadyBundle {
  if (bundle === null || (brandId !== null && bundle.instance.brandId !== brandId))
    throw notFound("instance", instanceId);
  if (bundle.config === null) throw notFound("config", instanceId);
  responderOf(bundle.config);
  return bundle as ReadyBundle;
}

/** Serialises a bundle, once for as long as it is cached. */
export const serializeBundle = oncePer((bundle: InstanceBundle): string => JSON.stringify(bundle));
