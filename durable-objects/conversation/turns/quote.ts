import { isRevoked } from "../../../src/domain/amendment.ts";
import type { QuotedMessage } from "../../../src/domain/history.ts";
import type { Stores } from "../stores.ts";
import type { Work } from "../stores/turn.ts";

/** The message that is quoted by its id at the channel, the user's or one of ours; null when the object does not hold it. */
export function quotedIn(
  { outbox, deliveries }: Pick<Stores, "outbox" | "deliveries">,
  channelMessageId: string,
): QuotedMessage | null {
  const messageId = deliveries.messageOf(channelMessageId);
  const found = outbox.find(messageId === null ? { channelMessageId } : { id: messageId });
  if (found === null) return null;
  const { id, role, content } = found;
  return { id, role, content: isRevoked(found) ? "" : content };
}

/** `{quoted}` for a message that quotes another: its content and who said it, where that is known. */
export function quoteOf(stores: Pick<Stores, "outbox" | "deliveries">, { replyTo = null, quoted = null }: Work) {
  if (replyTo === null) return {};
  const found = quotedIn(stores, replyTo) ?? quoted;
  return { quoted: found === null ? { channel_message_id: replyTo } : { channel_message_id: replyTo, ...found } };
}
