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
 * Refuses (401) whoever sent no credential, before anything is looked up. What `AUTH_MODE` lets in without one are messages
 * of people: to speak to many takes a key, but on a developer's machine.
 */
export function requireServer({ config }: Pick<Deps, "config">, credential: Credential): void {
  const { environment, authMode } = config;
  if (credential.kind !== "anonymous" || (authMode === "optional" && environment === "development")) return;
  throw new AppError("UNAUTHORIZED", "An API key is required");
}

/** Where a broadcast stands, and a page of its recipients. Refuses (404) what is no broadcast of the caller's brand. */
export async function findBroadcast(
  deps: BroadcastDeps,
  credential: Credential,
  id: string,
  page: RecipientPage,
): Promise<Progress> {
  const scope = await scopeOf(deps, credential, "broadcasts:read", id);
  return found(await deps.read(progressOf(scope, page)), id);
}

/**
 * Cancels a broadcast: nobody is claimed for sending after this, whoever is being reached at this moment still is. Doing
 * it twice is doing it once. Refuses (404) what is no broadcast of the caller's brand.
 */
export async function cancel(deps: BroadcastDeps, credential: Credential, id: string): Promise<Progress> {
  const scope = await scopeOf(deps, credential, "broadcasts:write", id);
  return found(await cancelBroadcast(deps.db, scope), id);
}

/**
 * Sends to those who failed once more. Refuses (404) what is no broadcast of the caller's brand, and (400) a cancelled one:
 * it stays cancelled.
 */
export async function retry(
  deps: BroadcastDeps & Pick<Deps, "broadcastTimer" | "enqueueBroadcast">,
  credential: Credential,
  id: string,
): Promise<Progress> {
  const scope = await scopeOf(deps, credential, "broadcasts:write", id);
  const before = found(await deps.read(progressOf(scope, { limit: 0, after: null, state: null })), id);
  if (before.cancelledAt !== null) throw invalid("broadcast_id", "The broadcast is cancelled");
  await deps.broadcastTimer(id).start();
  const progress = found(await retryBroadcast(deps.db, scope), id);
  await enqueue(deps, id);
  return progress;
}

/** Rings the queue. A ring that fails is repeated by the timer. */
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

/** What the caller may see of this id: their brand's. */
async function scopeOf(deps: BroadcastDeps, credential: Credential, action: Action, id: string): Promise<Scope> {
  requireServer(deps, credential);
  const principal = await authenticate(deps, credential);
  const brandId = principal.kind === "anonymous" ? null : principal.brandId;
  // Whose it is the statement finds out; what is asked here is whether this caller may do such a thing at all.
  if (brandId !== null) authorize(principal, action, { type: "broadcast", id, brandId });
  // What is no id can't be asked for.
  if (!Uuid.safeParse(id).success) throw notFound("broadcast", id);
  return { id, brandId };
}

function found(progress: Progress | null, id: string): Progress {
  if (progress === null) throw notFound("broadcast", id);
  return progress;
}
