import { isRecord } from "./json.ts";
import type { Role } from "./role.ts";
import { formatIso } from "./time.ts";

/** An edit or a revocation of an earlier message of the same sender. */
export type Amendment = {
  /** The channel's id of the edit or the revocation itself. */
  id: string;
  /** The channel's id of the message it is about, or of an earlier edit of that message. */
  target: string;
  role: Role;
  /** When it was made. Epoch milliseconds. */
  at: number;
  /** null for a revocation. */
  edit: Edit | null;
};

/** The words as they stand from now on, and what they change of the message's metadata. */
export type Edit = { content: string; metadata: Record<string, unknown> };

type Amended = { content: string; metadata: Record<string, unknown> };

/** Whether the content of revoked messages stays in storage: `policy_json` of the instance's configuration. */
export const keepsRevoked = (policy: { revoked_messages?: unknown } | null | undefined): boolean =>
  policy?.revoked_messages === "keep";

export const isRevoked = ({ metadata }: Pick<Amended, "metadata">): boolean => isRecord(metadata.revoked);

/**
 * The message with an edit or a revocation applied, marked `edited` or `revoked`. The order of arrival does not matter: the
 * latest edit stands, and nothing changes a revoked message.
 */
export function amend<Message extends Amended>(
  message: Message,
  { at, edit }: Pick<Amendment, "at" | "edit">,
  keepRevoked: boolean,
): Message {
  if (isRevoked(message)) return message;
  if (edit === null) {
    const revoked = { ...message, metadata: { ...message.metadata, revoked: { at: formatIso(at) } } };
    return keepRevoked ? revoked : blank(revoked);
  }
  const { edited } = message.metadata;
  if (isRecord(edited) && String(edited.at) > formatIso(at)) return message;
  const metadata = { ...mergeEdit(message.metadata, edit.metadata), edited: { at: formatIso(at) } };
  return { ...message, content: edit.content, metadata };
}

/** A revoked message without its content: only its channel and the mark stay. */
export const blank = <Message extends Amended>(message: Message): Message => ({
  ...message,
  content: "",
  metadata: Object.fromEntries(
    Object.entries(message.metadata).filter(([key]) => key === "channel" || key === "revoked"),
  ),
});

/** An edit names what it changes: a caption, but not the file, so attachments are merged one by one. */
function mergeEdit(metadata: Amended["metadata"], edit: Edit["metadata"]): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...metadata, ...edit };
  for (const [key, value] of Object.entries(edit)) {
    const before = metadata[key];
    if (isRecord(value) && isRecord(before)) merged[key] = { ...before, ...value };
    if (Array.isArray(value) && Array.isArray(before)) {
      merged[key] = value.map((item: unknown, index) => ({
        ...(before[index] as Record<string, unknown> | undefined),
        ...(item as Record<string, unknown>),
      }));
    }
  }
  return merged;
}

/** The id of the message that a chain of edits starts from. `amendments` are all that are known of a conversation. */
export function rootOf(id: string, amendments: readonly Pick<Amendment, "id" | "target">[]): string {
  const seen = new Set<string>();
  let root = id;
  for (let next = amendments.find((known) => known.id === root); next && !seen.has(root);) {
    seen.add(root);
    root = next.target;
    next = amendments.find((known) => known.id === root);
  }
  return root;
}
