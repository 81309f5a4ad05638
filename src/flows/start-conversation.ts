import { transaction } from "../db/client.ts";
import { insertSession } from "../db/sessions.ts";
import { channelOf } from "../channels/registry.ts";
import type { Deps } from "../deps.ts";
import { AppError, invalid, notFound, toAppError } from "../domain/errors.ts";
import { presented } from "../domain/identity.ts";
import type { Identifiers } from "../domain/identity.ts";
import type { Instance } from "../domain/instance.ts";
import { personOf } from "../domain/principal.ts";
import type { Caller } from "../domain/principal.ts";
import type { User } from "../domain/user.ts";
import { authorize, instanceOf } from "../domain/authorization.ts";
import { findKnownUsers, resolveSender } from "../services/identity.ts";
import { findInstance, requireReady, requireTokensOfBrand } from "../services/instance.ts";
import { verifyUserToken } from "../services/user-token.ts";
import type { TokenDeps } from "../services/user-token.ts";
import type { SessionSummary } from "../services/session.ts";
import { planSession } from "../services/usage.ts";
import { EVENT } from "../telemetry/events.ts";
export type Start = {
  instanceId: string;
  /** Given by a brand's server; a user token carries its own. */
  userId: string | null;
  identifiers: Identifiers;
  /** The caller's metadata; may be empty. */
  metadata: Record<string, unknown>;
  /** Repeating it returns the same conversation. */
  requestId: string | null;
};

type StartDeps = TokenDeps & Pick<Deps, "addresses" | "conversation">;

/**
 * Starts a conversation before its first message, for a voice call with a later transcript. It is planned at once and
 * has its own address, which its id carries. Refuses (404) an unknown instance or user and an instance without a
 * configuration or template set, (401) another brand's user token, (403) another user, (400) a request without a user.
 */
export async function startConversation(deps: StartDeps, caller: Caller, start: Start): Promise<SessionSummary> {
  const { instanceId } = start;
  const { auth_token: sent } = start.identifiers;
  const token = sent ? await verifyUserToken(deps, sent) : null;
  const found = await findInstance(deps, instanceId);
  requireTokensOfBrand(found, [caller, token]);
  const bundle = requireReady(found, instanceId, caller.brandId);
  const { brandId, channel } = bundle.instance;
  authorize(caller, "conversations:write", instanceOf(bundle.instance));
  const named = { ...start, userId: start.userId ?? (caller.kind === "brand" ? (token?.userId ?? null) : null) };
  const address = deps.addresses.started(instanceId, startKey(caller, named));
  const user = await resolveUser(deps, caller, bundle.instance, { ...named, address });

  const now = deps.now();
  const session = {
    id: deps.addresses.firstSessionId(address),
    brandId,
    instanceId,
    userId: user.id,
    channel,
    startedAt: now,
    lastMessageAt: now,
    lastAssistantMessageAt: null,
    tokenPlan: planSession(deps, bundle),
    metadata: start.metadata,
  };
  const outcome = await deps.conversation(address).start({ session, bundle });
  if (outcome.kind === "refused") throw toAppError(outcome);
  // Written at once so that the user's next list contains it; when Postgres is unavailable the ledger writes it later.
  await transaction(deps.db, [insertSession(outcome.session, address)]).catch((error: unknown) =>
    deps.log.warn(EVENT.sessionWriteDeferred, { session_id: outcome.session.id, error }),
  );
  return { ...outcome.session, expiredAt: null };
}

/** The conversation's key: the same request id for the same user is the same conversation. */
const startKey = (caller: Caller, { requestId, userId, identifiers }: Start): string =>
  JSON.stringify(
    requestId === null ? [crypto.randomUUID()] : [requestId, personOf(caller) ?? userId, presented(identifiers)],
  );

/** Returns the conversation's user: the token's, or the one named by a brand's server. */
async function resolveUser(
  deps: StartDeps,
  caller: Caller,
  instance: Instance,
  start: Start & { address: string },
): Promise<User> {
  if (caller.kind === "user" && start.userId !== null && start.userId !== caller.userId) {
    throw new AppError("FORBIDDEN", "You do not have permission to start a conversation for another user");
  }
  const named = caller.kind === "user" ? caller.userId : start.userId;
  const claims = {
    instanceId: instance.id,
    channel: instance.channel,
    tokenUserId: named,
    tokenDecides: named !== null,
    identifiers: mayName(caller, instance) ? presented(start.identifiers) : [],
    address: start.address,
  };
  const found = await findKnownUsers(deps, claims);
  if (caller.kind === "brand" && named !== null && found.byToken === null) throw notFound("user", named);
  const sender = await resolveSender(deps, instance, claims, found);
  if (sender === null) throw invalid("user_id", "user_id or user is required");
  return sender.user;
}

/**
 * Whether the caller may identify a user by phone or e-mail. On WhatsApp only API keys may: a user token could
 * otherwise claim another user's verified number.
 */
const mayName = (caller: Caller, { channel }: Instance): boolean =>
  caller.kind === "brand" || !channelOf(channel).vouchesForIdentifiers;
