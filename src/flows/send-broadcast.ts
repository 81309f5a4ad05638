import { broadcastByRequest, insertBroadcast, usersOfBrand } from "../db/broadcasts.ts";
import type { StoredBroadcast } from "../db/broadcasts.ts";
import type { Deps } from "../deps.ts";
import { MAX_RECIPIENTS } from "../domain/broadcast.ts";
import type { BroadcastAnswer } from "../domain/broadcast.ts";
import { invalid } from "../domain/errors.ts";
import { fingerprint } from "../domain/idempotency.ts";
import { uuidv7 } from "../domain/ids.ts";
import { authorize } from "../domain/authorization.ts";
import { requireServer, enqueue } from "../services/broadcast.ts";
import { awaitAll } from "../isolate/cache.ts";
import { authenticate } from "../services/authentication.ts";
import type { Credential } from "../services/authentication.ts";
import { findInstance, requireReady } from "../services/instance.ts";

/** A broadcast as a route hands it over: its shape is right, nothing else is known. */
export type IncomingBroadcast = {
  credential: Credential;
  instanceId: string;
  requestId: string;
  traceId: string;
  content: string;
  /** As they were sent: one that stands there twice counts once. */
  userIds: readonly string[];
  metadata: Record<string, unknown>;
};

export type BroadcastOutcome =
  | { kind: "accepted"; answer: BroadcastAnswer }
  | { kind: "completed"; answer: BroadcastAnswer }
  | { kind: "mismatch" };

export type BroadcastReceipt = { outcome: BroadcastOutcome; brandId: string };

type SendDeps = Pick<
  Deps,
  "background" | "config" | "log" | "now" | "db" | "read" | "caches" | "broadcastTimer" | "enqueueBroadcast"
>;

/**
 * A broadcast comes in: in at most one round trip it is known who asks, for which instance, and who of the people named
 * there is; in another one the audience is written down with the ids their messages will have. Delivering is somebody
 * else's work. The same request id gives the same broadcast, for ever. Refuses what the error table says.
 */
export async function sendBroadcast(deps: SendDeps, broadcast: IncomingBroadcast): Promise<BroadcastReceipt> {
  const { instanceId, requestId, content, metadata } = broadcast;
  const userIds = [...new Set(broadcast.userIds.map((id) => id.toLowerCase()))];
  if (requestId.trim() === "") throw invalid("request_id", "request_id is required");
  if (userIds.length === 0) throw invalid("user_ids", "At least one user id is required");
  if (broadcast.userIds.length > MAX_RECIPIENTS)
    throw invalid("user_ids", `At most ${MAX_RECIPIENTS} user ids are taken`);
  requireServer(deps, broadcast.credential);

  const [principal, bundle, known, before] = await awaitAll([
    authenticate(deps, broadcast.credential),
    findInstance(deps, instanceId),
    deps.read(usersOfBrand(instanceId, userIds)),
    deps.read(broadcastByRequest(instanceId, requestId)),
  ]);
  const caller = principal.kind === "anonymous" ? null : principal.brandId;
  const { brandId } = requireReady(bundle, instanceId, caller).instance;
  if (principal.kind !== "anonymous") {
    authorize(principal, "broadcasts:write", { type: "instance", id: instanceId, brandId });
  }

  const print = await fingerprint({ content, metadata, user_ids: userIds.toSorted() });
  if (before !== null) return { outcome: repeated(before, print), brandId };

  const id = uuidv7(deps.now());
  const recipients = userIds
    .filter((userId) => known.has(userId))
    .map((userId) => ({ userId, messageId: uuidv7(deps.now()) }));
  const answer = answerTo(id, userIds, new Map(recipients.map(({ userId, messageId }) => [userId, messageId])));
  // First the timer: what is written and rung by nobody would never be sent.
  await deps.broadcastTimer(id).start();
  const frozen = { ...broadcast, id, brandId, fingerprint: print, answer, recipients };
  const stored = await insertBroadcast(deps.db, frozen);
  if (stored.id !== id) return { outcome: repeated(stored, print), brandId };

  await enqueue(deps, id);
  // As it is stored, so that whoever asks again is told the same to the byte.
  return { outcome: { kind: "accepted", answer: stored.answer }, brandId };
}

/** Nobody is told whether somebody is unknown or another brand's. */
function answerTo(id: string, userIds: readonly string[], messageIds: Map<string, string>): BroadcastAnswer {
  return {
    broadcast_id: id,
    summary: { total: userIds.length, successful: messageIds.size, failed: userIds.length - messageIds.size },
    results: userIds.map((user_id) => {
      const message_id = messageIds.get(user_id);
      return message_id === undefined
        ? { user_id, success: false, error: { code: "RESOURCE_NOT_FOUND", message: "No such user" } }
        : { user_id, success: true, message_id };
    }),
  };
}

const repeated = (stored: StoredBroadcast, print: string): BroadcastOutcome =>
  stored.fingerprint === print ? { kind: "completed", answer: stored.answer } : { kind: "mismatch" };
