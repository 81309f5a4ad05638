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

/** Meta redelivers webhooks for 7 days; the object may have forgotten an older message. */
const REDELIVERY_MS = 7 * 24 * 3_600_000;

/** Errors of an unreachable or failing Postgres, which are temporary. */
const UNAVAILABLE: readonly ErrorCode[] = ["DATABASE_CONNECTION_ERROR", "TIMEOUT_ERROR", "DATABASE_ERROR"];

type ResolveDeps = Pick<Deps, "db" | "read" | "caches" | "now" | "log" | "addresses">;

/**
 * Resolves a webhook message: the instance by its number, the sender by either id. One round trip for a known sender, two
 * on first contact. Every refusal and an unavailable Postgres are values.
 */
export async function resolveWebhookMessage(
  deps: ResolveDeps,
  message: InboundMessage,
  conversation: ConversationRef,
): Promise<Resolution> {
  try {
    return await resolveMessage(deps, message, conversation);
  } catch (error) {
    if (!(error instanceof AppError) || !UNAVAILABLE.includes(error.code)) throw error;
    deps.log.warn(EVENT.messageResolutionDeferred, { error });
    return { kind: "unavailable" };
  }
}

async function resolveMessage(
  deps: ResolveDeps,
  { id, channel, groupId, person, business, newIdentity, sentAt }: InboundMessage,
  { address, owner, quoted = null }: ConversationRef,
): Promise<Resolution> {
  const key: InstanceKey = { channel, endpoint: business };
  const contact = { instance: key, address, person };
  const mayBeKnown = owner === null || sentAt < deps.now() - REDELIVERY_MS;
  const [bundle, found, isKnown, quotedByOwner] = await Promise.all([
    findInstanceBy(deps, key),
    groupId === null ? findWhatsAppUsers(deps, contact) : [],
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
  // The business number may have moved to another brand: then the conversation's owner does not apply.
  const known = owner?.brandId === instance.brandId ? owner.userId : null;
  const sender = await resolveWhatsAppUser(deps, instance, contact, found, known);
  if (sender === null) return { kind: "rejected", reason: "guests_not_accepted", brandId: instance.brandId };
  if (newIdentity !== null) await renameWhatsAppUser(deps, instance, sender.user.id, { was: person, newIdentity });
  return {
    kind: "ready",
    bundle,
    user: sender.user,
    openSession: sender.openSession,
    quoted: known === null ? null : quotedByOwner,
  };
}
