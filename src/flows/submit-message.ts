import type { Deps } from "../deps.ts";
import { serializeBundle } from "../services/instance.ts";
import type { Submission, SubmitOutcome } from "../domain/submission.ts";

/** Submits a message to its conversation within the instance's rate limit. Only new messages count against the limit. */
export async function submitMessage(
  deps: Pick<Deps, "caches" | "config" | "conversation" | "carryEntry">,
  address: string,
  submission: Submission,
): Promise<SubmitOutcome> {
  const { caches, config, conversation, carryEntry } = deps;
  const { id } = submission.bundle.instance;
  const written = caches.writtenEntries.take(address);
  const sealed = {
    ...submission,
    bundle: serializeBundle(submission.bundle),
    ...(written === null ? {} : { written }),
  };
  const allowance = await caches.rateLimits.take(id, config.rateLimitInstancePerMinute);
  if (allowance.kind === "exhausted") {
    const { retryAfterMs } = allowance;
    return conversation(address).submit({ ...sealed, exhausted: { retryAfterMs } });
  }
  const outcome = await conversation(address).submit(sealed);
  if (outcome.kind === "answered" && outcome.entry !== undefined) carryEntry(outcome.entry);
  if (outcome.kind !== "answered" && outcome.kind !== "accepted") allowance.giveBack();
  return outcome;
}
