import { amend, keepsRevoked } from "../../../src/domain/amendment.ts";
import type { Amendment } from "../../../src/domain/amendment.ts";
import { requestIdOf } from "../../../src/domain/idempotency.ts";
import { WEBHOOK_MEMORY_MS } from "../../../src/domain/inbound-message.ts";
import type { InboundMessage } from "../../../src/domain/inbound-message.ts";
import type { Stores } from "../stores.ts";
import type { StoredTurn } from "../stores/turn.ts";
import { recordMessage } from "./record.ts";

type Options = { address: string; now: number };

/** Runs of one turn that an edit may replace, so that a stream of edits can't use up the turn's runs. */
const MAX_REPLACED_RUNS = 3;

/** The message as its edits and its revocation leave it that came before it. Revoked words stay until their session is known. */
export function amended({ amendments }: Pick<Stores, "amendments">, message: InboundMessage): InboundMessage {
  if (message.amends) return message;
  return amendments
    .about(message.id)
    .amendments.filter(({ role }) => role === message.role)
    .reduce((result, amendment) => amend(result, amendment, true), message);
}

/**
 * Stores an edit or a revocation and applies it to its message: in a pending turn, and in the history. Returns the turns
 * to abort: one of a revoked message is recorded, one of an edited message runs again.
 */
export function applyAmendment(stores: Stores, message: InboundMessage, options: Options): string[] {
  const { amendments, outbox, state, turns } = stores;
  const { id, role, sentAt, amends } = message;
  if (!amends) return [];
  amendments.save({ id, role, at: sentAt, ...amends }, options.now + WEBHOOK_MEMORY_MS);
  const known = amendments.about(id);
  const revocation = known.amendments.find(({ edit }) => edit === null);
  const keepRevoked = keepsRevoked(state.get("bundle")?.config?.policy);
  for (const amendment of known.amendments) {
    outbox.amend({ channelMessageId: known.root }, (stored) =>
      stored.role === amendment.role ? amend(stored, amendment, keepRevoked) : stored,
    );
  }
  if (revocation !== undefined && !keepRevoked) {
    const ids = known.amendments.filter(({ edit }) => edit !== null).map((amendment) => amendment.id);
    for (const channelMessageId of ids) {
      outbox.amend({ channelMessageId }, (stored) =>
        stored.role === role ? amend(stored, revocation, false) : stored,
      );
    }
    amendments.forgetWords(ids);
  }
  const turn = turns.find(options.address, requestIdOf(known.root));
  const isPending = turn !== null && (turn.state === "queued" || turn.state === "running");
  return isPending ? amendTurn(stores, turn, known.amendments, options) : [];
}

function amendTurn(stores: Stores, turn: StoredTurn, amendments: readonly Amendment[], options: Options): string[] {
  const { state, turns } = stores;
  const { inbound, work } = turn;
  const byRole = (role: string) => amendments.filter((amendment) => amendment.role === role);
  if (inbound !== null) {
    const { message } = inbound;
    const after = byRole(message.role).reduce((result, amendment) => amend(result, amendment, true), message);
    turns.rewrite(turn, { inbound: { ...inbound, message: after } });
    return [];
  }
  // A request of the brand's own system is answered as it was sent.
  const amendmentsOfUser = byRole("user");
  if (work === null || work.origin === null || amendmentsOfUser.length === 0) return [];
  const after = amendmentsOfUser.reduce((result, amendment) => amend(result, amendment, true), work);
  const session = state.get("session");
  if (after.metadata.revoked !== undefined && session !== null) {
    const message = { id: work.origin.channelMessageId, role: "user" as const };
    recordMessage(stores, turn, message, after, session, options);
    return [turn.turnId];
  }
  turns.rewrite(turn, { work: after });
  return turn.state === "running" && turn.fence <= MAX_REPLACED_RUNS ? [turn.turnId] : [];
}
