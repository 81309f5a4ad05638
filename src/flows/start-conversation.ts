import { transaction } from "../db/client.ts";
import { insertSession } from "../db/sessions.ts";
import type { Deps } from "../deps.ts";
import { sessionIdAt, startedAddress } from "../domain/address.ts";
import { AppError, invalid, notFound, toAppError } from "../domain/errors.ts";
import { presented } from "../domain/identity.ts";
import type { Identifiers } from "../domain/identity.ts";
import type { Instance } from "../domain/instance.ts";
import { personOf } from "../domain/principal.ts";
import type { Caller } from "../domain/principal.ts";
import type { User } from "../domain/user.ts";
import { authorize, instanceOf } from "../domain/authorization.ts";
import { findKnownUsers, resolveSender } from "../services/identity.ts";
import { findInstance, requireReady } from "../services/instance.ts";
import type { SessionSummary } from "../services/session.ts";
import { planSession } from "../services/usage.ts";
import { EVENT } from "../telemetry/events.ts";
export type Start = {
  instanceId: string;
  /** Named by a brand's server; a token names its own. */
  userId: string | null;
  identifiers: Identifiers;
  /** What the caller says of the conversation; empty for nothing. */
  metadata: Record<string, unknown>;
  /** The same is the same conversation. */
  requestId: string | null;
};

type StartDeps = Pick<Deps, "db" | "read" | "caches" | "now" | "log" | "conversation">;

/**
 * Begins a conversation before anything is said in it: a voice call, whose words will be written down. It is planned at
 * once, and lives at an address of its own, so that its id alone tells where its words go. Refuses (404) an unknown
 * instance or user, an instance without a configuration or a template set, (403) another person, (400) nobody.
 */
export async function startConversation(deps: StartDeps, caller: Caller, start: Start): Promise<SessionSummary> {
  const { instanceId } = start;
  const bundle = requireReady(await findInstance(deps, instanceId), instanceId, caller.brandId);
  const { brandId, channel } = bundle.instance;
  authorize(caller, "conversations:write", instanceOf(bundle.instance));
  const address = startedAddress(instanceId, keyOf(caller, start));
  const user = await findPerson(deps, caller, bundle.instance, { ...start, address });

  const now = deps.now();
  const session = {
    id: sessionIdAt(address, 0),
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
  // Whoever lists their conversations next finds it. Without Postgres it is there later: its object tells of it anyway.
  await transaction(deps.db, [insertSession(outcome.session, address)]).catch((error: unknown) =>
    deps.log.warn(EVENT.sessionWriteDeferred, { session_id: outcome.session.id, error }),
  );
  return { ...outcome.session, expiredAt: null };
}

/** Whoever asks again with the same request id, for the same person, means the same conversation. */
const keyOf = (caller: Caller, { requestId, userId, identifiers }: Start): string =>
  JSON.stringify(
    requestId === null ? [crypto.randomUUID()] : [requestId, personOf(caller) ?? userId, presented(identifiers)],
  );

/** Whose conversation it will be: the token's own user, or whom a brand's server names. */
async function findPerson(
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
  const speaker = await resolveSender(deps, instance, claims, found);
  if (speaker === null) throw invalid("user_id", "user_id or user is required");
  return speaker.user;
}

/**
 * Whom WhatsApp vouches for is found by their number and reads what is said there: it is no name that people give
 * themselves. A brand's server may.
 */
const mayName = (caller: Caller, { channel }: Instance): boolean => caller.kind === "brand" || channel !== "whatsapp";
