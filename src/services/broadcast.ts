import { cancelBroadcast, progressOf, retryBroadcast } from "../db/broadcasts.ts";
import type { Scope } from "../db/broadcasts.ts";
import type { Deps } from "../deps.ts";
import type { Progress, RecipientPage } from "../domain/broadcast.ts";
import { AppError, invalid, notFound } from "../domain/errors.ts";
import { Uuid } from "../domain/ids.ts";
import type { Action } from "../domain/principal.ts";
import { authorize } from "../domain/authorization.ts";
import { authenticate } from "./authentication.ts";
import type { Credential } from "./authentication.ts";
import { EVENT } from "../telemetry/events.ts";

type BroadcastDeps = Pick<Deps, "config" | "now" | "db" | "read" | "caches" | "log" | "background">;

/**
 * Refuses (401) a request without a credential, before any look-up. `AUTH_MODE=optional` admits messages without one;
 * broadcasts need an API key outside development.
 */
export function requireServer({ config }: Pick<Deps, "config">, credential: Credential): void {
  const { environment, authMode } = config;
  if (credential.kind !== "anonymous" || (authMode === "optional" && environment === "development")) return;
  throw new AppError("UNAUTHORIZED", "An API key is required");
}

/** A broadcast's progress and a page of its recipients. Refuses (404) an id that is no broadcast of the caller's brand. */
export async function findBroadcast(
  deps: BroadcastDeps,
  credential: Credential,
  id: string,
  page: RecipientPage,
): Promise<Progress> {
  const scope = await authorizedScope(deps, credential, "broadcasts:read", id);
  return found(await deps.read(progressOf(scope, page)), id);
}

/**
 * Cancels a broadcast: no recipient is claimed afterwards; attempts in progress finish. Idempotent. Refuses (404) an id
 * that is no broadcast of the caller's brand.
 */
export async function cancel(deps: BroadcastDeps, credential: Credential, id: string): Promise<Progress> {
  const scope = await authorizedScope(deps, credential, "broadcasts:write", id);
  return found(await cancelBroadcast(deps.db, scope), id);
}

/**
 * Retries failed recipients. Refuses (404) an id that is no broadcast of the caller's brand, and (400) a cancelled
 * broadcast.
 */
export async function retry(
  deps: BroadcastDeps & Pick<Deps, "broadcastTimer" | "enqueueBroadcast">,
  credential: Credential,
  id: string,
): Promise<Progress> {
  const scope = await authorizedScope(deps, credential, "broadcasts:write", id);
  const before = found(await deps.read(progressOf(scope, { limit: 0, after: null, state: null })), id);
  if (before.cancelledAt !== null) throw invalid("broadcast_id", "The broadcast is cancelled");
  await deps.broadcastTimer(id).start();
  const progress = found(await retryBroadcast(deps.db, scope), id);
  await enqueue(deps, id);
  return progress;
}

/** Enqueues the broadcast. A failed enqueue is repeated by the timer. */
export async function enqueue(
  { enqueueBroadcast, log }: Pick<Deps, "enqueueBroadcast" | "log">,
  id: string,
): Promise<void> {
  try {
    await enqueueBroadcast(id);
  } catch (error) {
    log.warn(EVENT.broadcastEnqueueFailed, { error, broadcast_id: id });
  }
}

/** The broadcast within the caller's brand. */
async function authorizedScope(
  deps: BroadcastDeps,
  credential: Credential,
  action: Action,
  id: string,
): Promise<Scope> {
  requireServer(deps, credential);
  const principal = await authenticate(deps, credential);
  const brandId = principal.kind === "anonymous" ? null : principal.brandId;
  // Ownership is checked in SQL; this only checks the caller's scope.
  if (brandId !== null) authorize(principal, action, { type: "broadcast", id, brandId });
  if (!Uuid.safeParse(id).success) throw notFound("broadcast", id);
  return { id, brandId };
}

function found(progress: Progress | null, id: string): Progress {
  if (progress === null) throw notFound("broadcast", id);
  return progress;
}
