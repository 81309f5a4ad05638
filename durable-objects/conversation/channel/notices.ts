import { amend, keepsRevoked } from "../../../src/domain/amendment.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import type { ResolvedMessage } from "../../../src/domain/resolution.ts";
import type { Session } from "../../../src/domain/session.ts";
import type { Stores } from "../stores.ts";
import type { Inbound, StoredTurn, Work } from "../stores/turn.ts";

/** Tells Postgres of an edit or a revocation, for a message that the object no longer holds. */
export function noteAmendments(
  { state, outbox, amendments }: Pick<Stores, "state" | "outbox" | "amendments">,
  { id, amends }: InboundMessage,
  { brandId, instanceId }: Session,
): void {
  if (!amends) return;
  const known = amendments.about(id);
  const revocation = known.amendments.find(({ edit }) => edit === null);
  const isBlanked = !keepsRevoked(state.get("bundle")?.config?.policy);
  for (const { role, at, edit } of revocation === undefined ? known.amendments : [revocation]) {
    // The rows of the edits hold words too.
    const edits = edit === null && isBlanked ? known.amendments.filter((amendment) => amendment.edit !== null) : [];
    const ids = [known.root, ...edits.map((amendment) => amendment.id)];
    for (const channelMessageId of ids) {
      outbox.addNotice({ kind: "amendment", brandId, instanceId, channelMessageId, role, at, edit, isBlanked });
    }
  }
}

/** An edit of a message that was revoked is recorded like that message: without words, unless the policy keeps them. */
export function withoutRevoked(
  { amendments }: Pick<Stores, "amendments">,
  { id, amends }: InboundMessage,
  work: Work,
): Work {
  const revocation = amends?.edit ? amendments.about(id).amendments.find(({ edit }) => edit === null) : undefined;
  return revocation === undefined ? work : amend(work, revocation, true);
}

/** Tells Postgres what a message says of its sender: the profile, and whether marketing messages are wanted. */
export function noteContact(
  { state, outbox }: Pick<Stores, "state" | "outbox">,
  { inbound }: StoredTurn & { inbound: Inbound },
  { bundle, user }: ResolvedMessage,
): void {
  const { channel, profile = null, marketing = null, sentAt } = inbound.message;
  const { brandId } = bundle.instance;
  const about: Record<string, unknown> = {};
  if (profile !== null && JSON.stringify(profile) !== JSON.stringify(state.get("profile"))) {
    state.set("profile", profile);
    about.profile = profile;
  }
  if (marketing !== null && sentAt >= (state.get("marketing")?.at ?? 0)) {
    state.set("marketing", { value: marketing, at: sentAt });
    about.marketing = { value: marketing, at: sentAt };
  }
  if (Object.keys(about).length > 0) outbox.addNotice({ kind: "contact", brandId, userId: user.id, channel, about });
}
