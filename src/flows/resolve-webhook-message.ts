import { isChannelMessageKnown, quotedMessage } from "../db/messages.ts";
import type { InstanceKey } from "../db/instances.ts";
import type { Deps } from "../deps.ts";
import { AppError } from "../domain/errors.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { InboundMessage } from "../domain/inbound-message.ts";
import type { Resolution, ConversationRef } from "../domain/resolution.ts";
import { findInstanceBy, requireReady } from "../services/instance.ts";
import { findWhatsAppUsers, renameWhatsAppUser, resolveWhatsAppUser } from "../services/whatsapp-user.ts";
import { EVENT } from "../telemetry/events.ts";

/** Webhooks are sent again for 7 days; what is older than that may be a message the object has forgotten. */
const SENT_AGAIN_MS = 7 * 24 * 3_600_000;

/** Postgres can't be reached, or can't do anything at all: it will be back. */
const AWAY: readonly ErrorCode[] = ["DATABASE_CONNECTION_ERROR", "TIMEOUT_ERROR", "DATABASE_ERROR"];

type IntroduceDeps = Pick<Deps, "db" | "read" | "caches" | "now" | "log" | "addresses">;

/**
 * Finds out to whom and by whom a message is that came through a webhook: the instance by its number, the person by
 * either of their ids. One round trip for somebody known, two on first contact. What can't be is a value, also that
 * Postgres is away.
 */
export async function resolveWebhookMessage(
  deps: IntroduceDeps,
  message: InboundMessage,
  place: ConversationRef,
): Promise<Resolution> {
  try {
    return await introduce(deps, message, place);
  } catch (error) {
    if (!(error instanceof AppError) || !AWAY.includes(error.code)) throw error;
    deps.log.warn(EVENT.messageResolutionDeferred, { error });
    return { kind: "unavailable" };
  }
}

async function introduce(
  deps: IntroduceDeps,
  { id, groupId, person, business, newIdentity, sentAt }: InboundMessage,
  { address, owner, quoted = null }: ConversationRef,
): Promise<Resolution> {
  const key: InstanceKey = { endpoint: business };
  const correspondent = { instance: key, address, person };
  const mayBeKnown = owner === null || sentAt < deps.now() - SENT_AGAIN_MS;
  const [bundle, found, isKnown, quotedByOwner] = await Promise.all([
    findInstanceBy(deps, key),
    groupId === null ? findWhatsAppUsers(deps, correspondent) : [],
    mayBeKnown && deps.read(isChannelMessageKnown(key, id)),
    owner === null || quoted === null ? null : deps.read(quotedMessage(owner, quoted)),
  ]);
  if (isKnown) return { kind: "known" };
  if (bundle === null) return { kind: "rejected", reason: "no_instance", brandId: null };
  const { instance } = bundle;
  if (groupId !== null) return { kind: "rejected", reason: "group_message", brandId: instance.brandId };
  if (bundle.config === null) return { kind: "rejected", reason: "no_config", brandId: instance.brandId };
  try {
    requireReady(bundle, instance.id, null);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return { kind: "rejected", reason: "not_configured", brandId: instance.brandId };
  }
  // A number that has changed hands belongs to another brand: whose conversation it was says nothing any more.
  const known = owner?.brandId === instance.brandId ? owner.userId : null;
  const speaker = await resolveWhatsAppUser(deps, instance, correspondent, found, known);
  if (speaker === null) return { kind: "rejected", reason: "guests_not_accepted", brandId: instance.brandId };
  if (newIdentity !== null) await renameWhatsAppUser(deps, instance, speaker.user.id, { was: person, newIdentity });
  return {
    kind: "ready",
    bundle,
    user: speaker.user,
    openSession: speaker.openSession,
    quoted: known === null ? null : quotedByOwner,
  };
}
