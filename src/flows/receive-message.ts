import type { Deps } from "../deps.ts";
import type { Channel } from "../domain/channel.ts";
import { clientNetwork } from "../domain/client-network.ts";
import { AppError, rateLimited } from "../domain/errors.ts";
import { fingerprint } from "../domain/idempotency.ts";
import { presented } from "../domain/identity.ts";
import type { Identifiers } from "../domain/identity.ts";
import type { SanitizedMetadata } from "../domain/message.ts";
import { brandOf } from "../domain/principal.ts";
import type { UserPrincipal } from "../domain/principal.ts";
import { authorize, instanceOf } from "../domain/authorization.ts";
import { awaitAll } from "../isolate/cache.ts";
import type { Permit } from "../isolate/rate-limits.ts";
import { authenticate, requireKey } from "../services/authentication.ts";
import type { Credential } from "../services/authentication.ts";
import { findKnownUsers, guestSender, resolveSender } from "../services/identity.ts";
import type { Claims, Sender } from "../services/identity.ts";
import { verifyUserToken } from "../services/user-token.ts";
import { findInstance, requireReady, requireSameKind, requireTokensOfBrand } from "../services/instance.ts";
import type { ReadyBundle } from "../services/instance.ts";
import { submitMessage } from "./submit-message.ts";
import type { Submission, SubmitOutcome } from "../domain/submission.ts";

/** A message that has passed validation of its shape only. */
export type IncomingMessage = {
  channel: Channel;
  credential: Credential;
  instanceId: string;
  requestId: string;
  traceId: string;
  content: string;
  metadata: SanitizedMetadata;
  identifiers: Identifiers;
  clientAddress: string;
  /** Epoch milliseconds. */
  receivedAt: number;
};

export type Receipt = { outcome: SubmitOutcome; brandId: string; userId: string; isGuest: boolean };

/**
 * Resolves instance and sender of a message, in at most one round trip for a known user, and submits the message to
 * their conversation. Throws refusals as `AppError`; the turn's outcome is a value.
 */
export async function receiveMessage(deps: Deps, message: IncomingMessage): Promise<Receipt> {
  // Only the api channel requires a key; public channels accept guests.
  if (message.channel === "api") requireKey(deps.config, message.credential);
  const bodyFingerprint = await fingerprint({ content: message.content, metadata: message.metadata.value });
  // Without Postgres, users and instances cached in this isolate are still served; a first contact gets 503.
  const { bundle: ready, sender, permit } = await admit(deps, message, bodyFingerprint);
  const { user, authState, openSession } = sender;
  const submission: Submission = {
    requestId: message.requestId,
    traceId: message.traceId,
    channel: message.channel,
    content: message.content,
    metadata: message.metadata.value,
    warnings: message.metadata.warnings,
    fingerprint: bodyFingerprint,
    user,
    authState,
    bundle: ready,
    openSession,
    receivedAt: message.receivedAt,
  };
  const outcome = await submitMessage(deps, deps.addresses.chat(ready.instance.id, user.id), submission, permit);
  return { outcome, brandId: ready.instance.brandId, userId: user.id, isGuest: user.tier === "guest" };
}

type Admitted = { bundle: ReadyBundle; sender: Sender; permit: Permit };

/**
 * Resolves instance and sender: everything read from Postgres before the conversation has the message. The instance's
 * permit is taken before a user is created, so that a refused message leaves no row.
 */
async function admit(deps: Deps, message: IncomingMessage, bodyFingerprint: string): Promise<Admitted> {
  const { auth_token: token } = message.identifiers;
  const bodyToken = token ? await verifyUserToken(deps, token) : null;
  const claims = claimsOf(deps, message, bodyToken);
  const [principal, found, known] = await awaitAll([
    authenticate(deps, message.credential),
    findInstance(deps, message.instanceId),
    findKnownUsers(deps, claims),
  ]);
  requireSameKind(found, message.instanceId, message.channel);
  requireTokensOfBrand(found, [principal, bodyToken]);
  const bundle = requireReady(found, message.instanceId, brandOf(principal));
  // Callers without a credential were admitted or refused by `requireKey`.
  if (principal.kind !== "anonymous") authorize(principal, "messages:write", instanceOf(bundle.instance));
  if (deps.orchestrator === null) throw new AppError("ORCHESTRATION_ERROR", "No orchestrator is configured");
  const permit = await deps.caches.rateLimits.take(bundle.instance.id, deps.config.rateLimitInstancePerMinute);
  try {
    const sender =
      (await resolveSender(deps, bundle.instance, claims, known, permit)) ??
      (await admitGuest(deps, bundle, message, bodyFingerprint, permit));
    return { bundle, sender, permit };
  } catch (error) {
    if (permit.kind === "allowed") permit.release();
    throw error;
  }
}

/**
 * Returns the claims that identify the sender. A user token decides. Where credentials are required and none was sent,
 * phone and e-mail are unproven and ignored.
 */
function claimsOf(
  { config }: Pick<Deps, "config">,
  { credential, identifiers, instanceId, channel }: IncomingMessage,
  bodyToken: UserPrincipal | null,
): Claims {
  const isTrusted = credential.kind !== "anonymous" || bodyToken !== null || config.authMode === "optional";
  return {
    instanceId,
    channel,
    tokenUserId: credential.kind === "user" ? credential.userId : (bodyToken?.userId ?? null),
    tokenDecides: credential.kind === "user" || (credential.kind === "anonymous" && config.authMode === "required"),
    identifiers: isTrusted ? presented(identifiers) : [],
  };
}

async function admitGuest(
  deps: Deps,
  { instance }: ReadyBundle,
  message: IncomingMessage,
  bodyFingerprint: string,
  permit: Permit,
): Promise<Sender> {
  if (!instance.acceptGuestUsers) {
    throw new AppError("UNAUTHORIZED", "The user could not be identified and guests are not accepted");
  }
  if (!(await deps.withinFloodLimit(clientNetwork(message.clientAddress)))) throw rateLimited("address", 10_000);
  const { auth_token: _, ...unverified } = message.identifiers;
  return guestSender(deps, instance, message.channel, { ...message, fingerprint: bodyFingerprint, unverified }, permit);
}
