import type { Recording, RecordOutcome, Undeliverable } from "../../../src/rpc/conversation.ts";
import { record } from "../sessions/record.ts";
import type { ChannelContext } from "./context.ts";
import { send, undeliverable } from "./send.ts";

/** Records messages outside a turn and sends those that go out through a channel. None is recorded that can't be sent. */
export function recordAndSend(
  context: ChannelContext,
  recording: Recording,
  options: { address: string; now: number },
): RecordOutcome | Undeliverable {
  const { messages, outbound = null } = recording;
  const outcome = record(context, recording, {
    ...options,
    undeliverable: (message) => outbound && undeliverable(context, message, outbound),
  });
  if (outcome.kind !== "recorded") return outcome;
  if (outbound !== null) for (const message of messages) send(context, message, outbound, null);
  context.notifyLedger();
  return outcome;
}
