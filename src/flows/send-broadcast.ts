import { broadcastByRequest, insertBroadcast, usersOfBrand } from "../db/broadcasts.ts";
import type { StoredBroadcast } from "../db/broadcasts.ts";
import type { Deps } from "../deps.ts";
import { MAX_RECIPIENTS } from "../domain/broadcast.ts";
import type { BroadcastReply } from "../domain/broadcast.ts";
import { invalid } from "../domain/errors.ts";
import { fingerprint } from "../domain/idempotency.ts";
import { uuidv7 } from "../domain/ids.ts";
import { authorize } from "../domain/authorization.ts";
import { requireServer, enqueue } from "../services/broadcast.ts";
import { awaitAll } from "../isolate/cache.ts";
import { authenticate } from "../services/authentication.ts";
import type { Credential } from "../services/authentication.ts";
import { findInstance, requireReady, requireTokensOfBrand } from "../services/instance.ts";

/** A broadcast request that has passed validation of its shape only. */
export type IncomingBroadcast = {
  credential: Credential;
  instanceId: string;
  requestId: string;
  traceId: string;
  content: string;
  /** As they were sent: duplicates are ignored, upper and lower case are the same. */
  userIds: readonly string[];
  metadata: Record<string, unknown>;
};

export type BroadcastOutcome =
  | { kind: "accepted"; answer: BroadcastReply }
  | { kind: "completed"; answer: BroadcastReply }
  | { kind: "mismatch" };

export type BroadcastReceipt = { outcome: BroadcastOutcome; brandId: string };

type SendDeps = Pick<
  Deps,
  "background" | "config" | "log" | "now" | "db" | "read" | "caches" | "broadcastTimer" | "enqueueBroadcast"
>;

/**
 * Creates a broadcast in at most two round trips: one resolves the caller, the instance and the recipients, the other
 * inserts the broadcast with the recipients' message ids. The queue consumer delivers it. A request id identifies its
 * broadcast permanently.
 */
export async function sendBroadcast(deps: SendDeps, broadcast: IncomingBroadcast): Promise<BroadcastReceipt> {
  const { instanceId, requestId, content, metadata } = broadcast;
  const userIds = [...new Set(broadcast.userIds.map((id) => id.toLowerCase()))];
  if (requestId.trim() === "") throw invalid("request_id", "request_id is required");
  if (userIds.length === 0) throw invalid("user_ids", "At least one user id is required");
  if (broadcast.userIds.length > MAX_RECIPIENTS)
    throw invalid("user_ids", `At most ${MAX_RECIPIENTS} user ids are accepted`);
  requireServer(deps, broadcast.credential);

  const [principal, bundle, known, before] = await awaitAll([
    authenticate(deps, broadcast.credential),
    findInstance(deps, instanceId),
    deps.read(usersOfBrand(instanceId, userIds)),
    deps.read(broadcastByRequest(instanceId, requestId)),
  ]);
  requireTokensOfBrand(bundle, [principal]);
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
  // The timer is started first: a broadcast without one might never be delivered.
  await deps.broadcastTimer(id).start();
  const frozen = { ...broadcast, id, brandId, fingerprint: print, answer, recipients };
  const stored = await insertBroadcast(deps.db, frozen);
  if (stored.id !== id) return { outcome: repeated(stored, print), brandId };

  await enqueue(deps, id);
  // The stored answer, so that a repeated request gets the same bytes.
  return { outcome: { kind: "accepted", answer: stored.answer }, brandId };
}

/** A user of another brand is reported like an unknown one. */
function answerTo(id: string, userIds: readonly string[], messageIds: Map<string, string>): BroadcastReply {
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
