import type { Deps } from "../deps.ts";
import type { Permit } from "../isolate/rate-limits.ts";
import { serializeBundle } from "../services/instance.ts";
import type { Submission, SubmitOutcome } from "../domain/submission.ts";

/**
 * Submits a message to its conversation within the instance's rate limit. `permit` is one that the caller has taken.
 * Only new messages count against the limit.
 */
export async function submitMessage(
  deps: Pick<Deps, "caches" | "config" | "conversation" | "carryEntry">,
  address: string,
  submission: Submission,
  permit: Permit | null = null,
): Promise<SubmitOutcome> {
  const { caches, config, conversation, carryEntry } = deps;
  const { id } = submission.bundle.instance;
  const written = caches.writtenEntries.take(address);
  const wire = {
    ...submission,
    bundle: serializeBundle(submission.bundle),
    ...(written === null ? {} : { written }),
  };
  const taken = permit ?? (await caches.rateLimits.take(id, config.rateLimitInstancePerMinute));
  if (taken.kind === "exhausted") {
    const { retryAfterMs } = taken;
    return conversation(address).submit({ ...wire, exhausted: { retryAfterMs } });
  }
  const outcome = await conversation(address).submit(wire);
  if (outcome.kind === "answered" && outcome.entry !== undefined) carryEntry(outcome.entry);
  if (outcome.kind !== "answered" && outcome.kind !== "accepted") taken.release();
  return outcome;
}
