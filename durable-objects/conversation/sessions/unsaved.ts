import type { Unknown, Unsaved, UnsavedRequest } from "../../../src/rpc/conversation.ts";
import { newestFirst } from "../../../src/domain/history.ts";
import type { Cursor } from "../../../src/domain/page.ts";
import type { Session } from "../../../src/domain/session.ts";
import { authorize, conversationOf } from "../../../src/domain/authorization.ts";
import { isEnded, isErased } from "./current.ts";
import type { Refused } from "../../../src/domain/errors.ts";
import { byteLength } from "../../../src/domain/json.ts";
import type { LedgerUsage } from "../../../src/domain/ledger.ts";
import type { Message } from "../../../src/domain/message.ts";
import { toRefused, sessionNotFound } from "../../../src/domain/errors.ts";
import type { Stores } from "../stores.ts";

/** The current session, or an earlier one with entries here; null otherwise. */
export function knownSession({ state, outbox }: Pick<Stores, "state" | "outbox">, sessionId: string): Session | null {
  const current = state.get("session");
  return current?.id === sessionId ? current : outbox.lastSession(sessionId);
}

/** Rows of a session that Postgres may not have yet: the newest messages that fit, or usage. */
export function unsaved(
  stores: Pick<Stores, "state" | "outbox">,
  request: UnsavedRequest,
): ({ kind: "unsaved" } & Unsaved) | Unknown | Refused {
  const { state, outbox } = stores;
  const { sessionId, caller } = request;
  if (isErased(state, sessionId)) return sessionNotFound(sessionId);
  const session = knownSession(stores, sessionId);
  if (session === null) return { kind: "unknown" };
  const refusal = toRefused(() => authorize(caller, "conversations:read", conversationOf(session)));
  if (refusal !== null) return refusal;

  const newest = new NewestMessages(request);
  const usage: LedgerUsage[] = [];
  for (const entry of outbox.pendingOfSession(sessionId)) {
    if (request.select === "usage") usage.push(...(entry.usage === null ? [] : [entry.usage]));
    else for (const message of entry.messages) newest.add(message);
  }
  return {
    kind: "unsaved",
    session,
    endedAt: isEnded(state, session) ? (state.get("ended")?.expiredAt ?? null) : null,
    ...newest.result(),
    usage,
  };
}

/** Keeps the newest messages that a request selects, within its limits of number and bytes. */
class NewestMessages {
  readonly #request: UnsavedRequest;
  #kept: { message: Message; bytes: number }[] = [];
  #bytes = 0;
  /** The newest message that did not fit: nothing older is kept, so that the result has no gap. */
  #cutAt: Message | null = null;

  constructor(request: UnsavedRequest) {
    this.#request = request;
  }

  add(message: Message): void {
    const { before, select, limit, maxBytes } = this.#request;
    if (before !== null && !isOlder(message, before)) return;
    if (this.#cutAt !== null && newestFirst(this.#cutAt, message) < 0) return;
    if (typeof select === "object" && message.id !== select.messageId) return;
    const kept = select === "counts" ? { ...message, content: "", metadata: {} } : message;
    const bytes = byteLength(JSON.stringify(kept));
    this.#kept.push({ message: kept, bytes });
    this.#bytes += bytes;
    // Messages come in about their order: trimming now and then bounds the memory and sorts seldom.
    if (this.#kept.length > 2 * limit + 1_000 || this.#bytes > 2 * maxBytes) this.#trim();
  }

  result(): Pick<Unsaved, "messages" | "isCut"> {
    this.#trim();
    return { messages: this.#kept.map(({ message }) => message), isCut: this.#cutAt !== null };
  }

  #trim(): void {
    const { limit, maxBytes } = this.#request;
    const sorted = this.#kept.toSorted((a, b) => newestFirst(a.message, b.message)).slice(0, limit);
    this.#bytes = 0;
    this.#kept = [];
    for (const each of sorted) {
      if (this.#kept.length > 0 && this.#bytes + each.bytes > maxBytes) {
        this.#cutAt = each.message;
        return;
      }
      this.#kept.push(each);
      this.#bytes += each.bytes;
    }
  }
}

const isOlder = ({ createdAt, seq }: Message, { at, tie }: Cursor): boolean =>
  createdAt < at || (createdAt === at && seq < tie);
